using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Hbone.Transport;
using Mesh.Xds.CertificateAuthority;
using Mesh.Ztunnel;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

// Read by the runtime when the first socket is made. Completions then run on the thread that polls the sockets, as on the event loops: one thread
// switch less for each read. What may wait, such as a line of the access log, leaves that thread first. See docs/performance.md.
Environment.SetEnvironmentVariable("DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS", "1");

switch (args)
{
    case [] or ["proxy", ..]:
        return await RunAsync(args is [_, .. var rest] ? rest : []);
    case ["version"]:
        Console.WriteLine(typeof(ZtunnelOptions).Assembly.GetName().Version?.ToString(3));
        return 0;
    case ["help" or "--help" or "-h"]:
        WriteHelp();
        return 0;
    default:
        await Console.Error.WriteLineAsync($"unknown command '{string.Join(' ', args)}'; allowed are proxy (the default), version and help");
        return 1;
}

static async Task<int> RunAsync(string[] args)
{
    var errors = new List<string>();
    var variables = SettingSources.Read(args, errors);
    var environment = ZtunnelEnvironment.Read(variables);
    errors.AddRange(environment.Errors);
    if (errors.Count > 0)
    {
        return await FailAsync(errors);
    }

    // For what does not go by the event loops: DNS and administration. Before the first socket, like the one above.
    Environment.SetEnvironmentVariable(WorkerThreads.RuntimeVariable, environment.WorkerThreadCount.ToString());

    try
    {
        using var development = environment.DevelopmentCaDirectory is { } directory ? DevelopmentCertificateAuthority.Open(directory, environment.CertificateLifetime) : null;
        using var telemetry = OtlpExport.Start(variables);
        using var host = Build(environment, variables, development, telemetry);
        await host.RunAsync();

        // Not 0 when the ztunnel has ended itself.
        return Environment.ExitCode;
    }
    catch (OperationCanceledException)
    {
        // Told to stop while it was starting.
        return 0;
    }
    catch (CertificateAuthorityException e)
    {
        return await FailAsync([$"MESH_DEVELOPMENT_CA is '{environment.DevelopmentCaDirectory}'; allowed: a directory that can be written to, or holds a root and its key ({e.Message})"]);
    }
    catch (Exception e) when (e is IOException or UnauthorizedAccessException or Microsoft.Extensions.Options.OptionsValidationException)
    {
        return await FailAsync([e.Message]);
    }
    catch (ConfigurationException e)
    {
        return await FailAsync(e.Diagnostics.Select(diagnostic => diagnostic.ToString()));
    }
}

static IHost Build(ZtunnelEnvironment environment, Dictionary<string, string> variables, DevelopmentCertificateAuthority? development, OtlpExport? telemetry)
{
    var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
    builder.Logging.AddProvider(new LogLineLoggerProvider(Console.OpenStandardOutput(), environment.LogFormat, TimeProvider.System));
    builder.Logging.SetMinimumLevel(LogLevel.Trace);
    builder.Logging.AddFilter((category, level) => environment.LogLevels.IsLogged(category ?? "", level));
    if (telemetry is not null)
    {
        OtlpExport.AddLogs(builder);
    }

    builder.Services.AddSingleton(environment.LogLevels);
    builder.Services.AddSingleton(services => development ?? Authority(environment, services.GetRequiredService<ILoggerFactory>()));
    var loops = OperatingSystem.IsLinux() ? new EventLoopGroup(environment.WorkerThreadCount) : null;
    builder.Services.AddZtunnel(options =>
    {
        ZtunnelEnvironment.Read(variables, options);
        options.Sockets = options.Sockets with { EventLoops = loops };
    });
    return builder.Build();
}

static ICertificateAuthority Authority(ZtunnelEnvironment environment, ILoggerFactory loggers) => environment.SpiffeAgent is { } agent
    ? new SpiffeWorkloadApi(new SpiffeWorkloadApiOptions { Endpoint = agent }, TimeProvider.System, logger: loggers.CreateLogger<SpiffeWorkloadApi>())
    : new IstioCertificateAuthority(environment.CertificateAuthority!, TimeProvider.System, loggers.CreateLogger<IstioCertificateAuthority>());

static async Task<int> FailAsync(IEnumerable<string> errors)
{
    foreach (var error in errors)
    {
        await Console.Error.WriteLineAsync(error);
    }

    return 1;
}

static void WriteHelp()
{
    Console.WriteLine("ztunnel [proxy [--NAME value ...] | version | help]");
    Console.WriteLine();
    Console.WriteLine("Settings, in the environment, in appsettings.json (an object of names and values) or on the command line:");
    foreach (var (name, standard, meaning) in ZtunnelEnvironment.Settings)
    {
        Console.WriteLine($"  {name,-34} {standard,-14} {meaning}");
    }
}
