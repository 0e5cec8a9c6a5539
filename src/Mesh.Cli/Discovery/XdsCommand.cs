using System.CommandLine;
using System.Text.Json.Nodes;
using Mesh.Core.Workloads;
using Mesh.Xds;
using Mesh.Xds.Client;
using Mesh.Xds.Workloads;

namespace Mesh.Cli.Discovery;

/// <summary><c>mesh xds</c>: what a control plane would send to a node.</summary>
internal static class XdsCommand
{
    private static readonly Option<string> Address = new("--address") { Description = "the control plane, host:port", Required = true };
    private static readonly Option<string> RootCa = new("--root-ca") { Description = "file with the roots that may vouch for it, PEM; SYSTEM for those of the operating system", DefaultValueFactory = _ => "SYSTEM" };
    private static readonly Option<string?> ServerName = new("--server-name") { Description = "another name that its certificate may have" };
    private static readonly Option<string?> Token = new("--token") { Description = "file with the bearer token to show" };
    private static readonly Option<string> ClusterId = new("--cluster-id") { Description = "the cluster that the node belongs to", DefaultValueFactory = _ => "Kubernetes" };
    private static readonly Option<string> NodeName = new("--node-name") { Description = "the node", Required = true };
    private static readonly Option<string> Namespace = new("--namespace") { Description = "namespace of the node's ztunnel", DefaultValueFactory = _ => "istio-system" };
    private static readonly Option<string> Pod = new("--pod") { Description = "pod of the node's ztunnel", DefaultValueFactory = _ => "ztunnel-mesh" };
    private static readonly Option<string> Ip = new("--ip") { Description = "address of the node's ztunnel", DefaultValueFactory = _ => "1.1.1.1" };
    private static readonly Option<bool> Watch = new("--watch") { Description = "go on, and print every change" };
    private static readonly Option<string?> Type = new("--type") { Description = "only these resources: address (workloads and services) or authorization (policies)" };
    private static readonly Option<int> Timeout = new("--timeout") { Description = "seconds that the first answer may take", DefaultValueFactory = _ => 10 };

    public static Command Create() => Tool.Of(
        "xds",
        "print what a control plane sends to a node, as the local file of the ztunnel has it",
        [Address, RootCa, ServerName, Token, ClusterId, NodeName, Namespace, Pod, Ip, Watch, Type, Timeout],
        RunAsync);

    private static async Task RunAsync(ParseResult parsed, CancellationToken stop)
    {
        var (addresses, authorizations) = parsed.GetValue(Type) switch
        {
            null => (true, true),
            "address" => (true, false),
            "authorization" => (false, true),
            var other => throw new ToolException($"--type is '{other}'; allowed are address and authorization"),
        };
        var timeout = parsed.GetValue(Timeout) is >= 1 and <= 3600 and var seconds
            ? TimeSpan.FromSeconds(seconds)
            : throw new ToolException($"--timeout is {parsed.GetValue(Timeout)}; allowed are 1 to 3600 seconds");
        var options = new XdsClientOptions { Endpoint = EndpointOf(parsed), Node = NodeOf(parsed), MaxBackoff = TimeSpan.FromSeconds(5) };
        var output = TextWriter.Synchronized(parsed.InvocationConfiguration.Output);
        var printer = new MeshPrinter(output, parsed.InvocationConfiguration.Error);
        await using var client = new XdsClient(options);
        if (addresses)
        {
            client.Subscribe(printer.AddressType, printer);
        }

        if (authorizations)
        {
            client.Subscribe(MeshResources.AuthorizationType, printer);
        }

        client.Start();
        try
        {
            await client.Ready.WaitAsync(timeout, stop);
        }
        catch (TimeoutException e)
        {
            var reason = WhyNotReady(client, options.Endpoint.Address, timeout);
            if (printer.IsEmpty || !parsed.GetValue(Watch))
            {
                // What is there may be what is looked for.
                if (!printer.IsEmpty)
                {
                    printer.PrintAll();
                }

                throw new ToolException(reason, e);
            }

            // To watch such a control plane is what one does to find out why.
            await parsed.InvocationConfiguration.Error.WriteLineAsync(reason);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return;
        }

        printer.PrintAll();
        if (parsed.GetValue(Watch))
        {
            await printer.WatchAsync(stop);
        }
    }

    private static string WhyNotReady(XdsClient client, Uri address, TimeSpan timeout)
    {
        var missing = client.Subscriptions.Where(subscription => !subscription.IsReady).ToList();
        var refusals = string.Join("; ", missing.Select(subscription => subscription.LastRefusal).OfType<string>());
        var types = string.Join(" and ", missing.Select(subscription => subscription.TypeUrl[(subscription.TypeUrl.LastIndexOf('.') + 1)..]));
        return refusals.Length > 0 ? $"{address.Authority} has sent resources that cannot be taken: {refusals}"
            : client.IsConnected ? $"{address.Authority} has sent no resources of the type {types} in {timeout.TotalSeconds} s"
            : $"{address.Authority} has sent nothing in {timeout.TotalSeconds} s: {client.LastError ?? "no answer"}";
    }

    private static ControlPlaneEndpoint EndpointOf(ParseResult parsed)
    {
        Uri address;
        try
        {
            address = ControlPlaneEndpoint.ParseAddress(parsed.GetRequiredValue(Address));
        }
        catch (FormatException e)
        {
            throw new ToolException($"--address: {e.Message}", e);
        }

        return new ControlPlaneEndpoint
        {
            Address = address,
            RootCertificates = parsed.GetRequiredValue(RootCa),
            AlternativeHostname = parsed.GetValue(ServerName),
            Token = TokenPathOf(parsed),
            Metadata = [new("clusterid", parsed.GetRequiredValue(ClusterId))],
        };
    }

    // Not repeated: it may be a token that was given in place of its file.
    private static string? TokenPathOf(ParseResult parsed) => parsed.GetValue(Token) is not { } token ? null
        : File.Exists(token) ? Path.GetFullPath(token)
        : throw new ToolException("--token names no file; allowed is the path of a file that holds the token");

    // As a ztunnel says who it is (ztunnel §5.2).
    private static XdsNode NodeOf(ParseResult parsed)
    {
        var (ns, pod, text) = (parsed.GetRequiredValue(Namespace), parsed.GetRequiredValue(Pod), parsed.GetRequiredValue(Ip));
        if (!NetworkAddress.TryParseAddress(text, out var ip))
        {
            throw new ToolException($"--ip is '{text}'; allowed are IPv4 and IPv6 addresses");
        }

        foreach (var (option, value) in new[] { ("--namespace", ns), ("--pod", pod) })
        {
            if (value.Length == 0 || value.Contains('~', StringComparison.Ordinal))
            {
                throw new ToolException($"{option} is '{value}'; allowed are names that are not empty and have no '~'");
            }
        }

        return new XdsNode($"ztunnel~{ip}~{pod}.{ns}~{ns}.svc.cluster.local")
        {
            Metadata = new JsonObject { ["NAME"] = pod, ["NAMESPACE"] = ns, ["INSTANCE_IPS"] = ip.ToString(), ["NODE_NAME"] = parsed.GetRequiredValue(NodeName) },
        };
    }
}
