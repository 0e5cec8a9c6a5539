using System.CommandLine;
using System.Net;
using Mesh.AspNetCore.ControlPlanes;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Xds.Server;
using Microsoft.Extensions.Logging;

namespace Mesh.Cli.ControlPlane;

/// <summary><c>mesh control-plane</c>: a control plane from a directory, for installations without istiod.</summary>
internal static class ControlPlaneCommand
{
    /// <summary>The mesh, in the format of LOCAL_XDS_PATH.</summary>
    public const string MeshFile = "mesh.yaml";

    /// <summary>Who may ask; see <see cref="ClientsFile"/>.</summary>
    public const string ClientsFileName = "clients.yaml";

    /// <summary>The root and its key, made when absent.</summary>
    public const string AuthorityDirectory = "ca";

    private static readonly Option<string> Config = new("--config")
    {
        Description = $"directory with {MeshFile} (workloads, services, policies), {ClientsFileName} (who may ask) and {AuthorityDirectory}/ (root and key, made when absent)",
        Required = true,
    };

    private static readonly Option<string> Listen = new("--listen") { Description = "address and port to listen on", DefaultValueFactory = _ => "0.0.0.0:15012" };
    private static readonly Option<string[]> Names = new("--name") { Description = "DNS name or IP address that clients call it by; several are allowed", DefaultValueFactory = _ => ["localhost", "127.0.0.1"] };
    private static readonly Option<string> MaxLifetime = new("--max-certificate-lifetime") { Description = "longest lifetime of a certificate", DefaultValueFactory = _ => "24h" };

    public static Command Create() => Tool.Of(
        "control-plane",
        "serve workloads, services, policies and certificates from files, over xDS; edits take effect while running",
        [Config, Listen, Names, MaxLifetime],
        async (parsed, stop) =>
        {
            try
            {
                await RunAsync(parsed, stop);
            }
            catch (ConfigurationException e)
            {
                throw new ToolException(string.Join("; ", e.Diagnostics), e);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or CertificateAuthorityException)
            {
                throw new ToolException(e.Message, e);
            }
        });

    private static async Task RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var directory = parsed.GetValue(Config)!;
        var listen = IPEndPoint.TryParse(parsed.GetValue(Listen)!, out var endPoint)
            ? endPoint
            : throw new FormatException($"--listen is '{parsed.GetValue(Listen)}'; allowed: address:port");
        var lifetime = DurationText.TryParse(parsed.GetValue(MaxLifetime)!, out var parsedLifetime) && parsedLifetime >= TimeSpan.FromSeconds(2) && parsedLifetime <= TimeSpan.FromDays(365)
            ? parsedLifetime
            : throw new FormatException($"--max-certificate-lifetime is '{parsed.GetValue(MaxLifetime)}'; allowed: durations like 24h, 90s, from 2 s to 365 days");
        using var loggers = LoggerFactory.Create(logging => logging.AddSimpleConsole(console => console.SingleLine = true).SetMinimumLevel(LogLevel.Information).AddFilter("Microsoft", LogLevel.Warning));
        var state = new MeshState();
        await using var mesh = LocalConfigurationFile.Open(Path.Combine(directory, MeshFile), state, TimeProvider.System, loggers.CreateLogger<LocalConfigurationFile>());
        var clients = new ClientsFile(Path.Combine(directory, ClientsFileName), loggers.CreateLogger<ClientsFile>());
        using var authority = DevelopmentCertificateAuthority.Open(Path.Combine(directory, AuthorityDirectory), lifetime);
        TrustThoseOf(MeshKeys.Of(state.Current).Workloads);
        state.Changed += (_, change) => TrustThoseOf(change.Keys.Workloads);

        using var controlPlane = new Xds.Server.ControlPlane(state, clients, authority, new ControlPlaneOptions { MaxCertificateLifetime = lifetime }, loggers.CreateLogger<Xds.Server.ControlPlane>());
        await using var server = await ControlPlaneServer.StartAsync(
            controlPlane, authority, new ControlPlaneServerOptions { ListenEndPoint = listen, Names = parsed.GetValue(Names)! }, TimeProvider.System, loggers, cancellationToken);
        await parsed.InvocationConfiguration.Output.WriteLineAsync($"listening on {server.LocalEndPoint}");

        // The file of clients is read when one calls, and who has a certificate of a trust domain that is not accepted cannot call.
        using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1), TimeProvider.System);
        try
        {
            do
            {
                Trust(clients.TrustDomains);
            }
            while (await timer.WaitForNextTickAsync(cancellationToken));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Told to stop.
        }

        // A node whose workloads are of a new trust domain may show a certificate of it.
        void TrustThoseOf(IEnumerable<string> workloads) => Trust(workloads.Select(state.Current.FindWorkload).OfType<Workload>().Select(workload => workload.TrustDomain).Distinct());

        void Trust(IEnumerable<TrustDomain> trustDomains)
        {
            foreach (var trustDomain in trustDomains)
            {
                authority.Trust(trustDomain);
            }
        }
    }
}
