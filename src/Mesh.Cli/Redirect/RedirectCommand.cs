using System.CommandLine;
using System.Net.Sockets;
using Mesh.Core.Workloads;

namespace Mesh.Cli.Redirect;

/// <summary><c>mesh redirect</c>: Istio's in-pod redirection without Kubernetes.</summary>
internal static class RedirectCommand
{
    private static readonly Option<string?> Netns = new("--netns") { Description = "network namespace: a name of 'ip netns', a path, or the number of a process; the own one when absent" };
    private static readonly Option<bool> CaptureDns = new("--dns") { Description = "send DNS to the ztunnel too" };
    private static readonly Option<bool> BypassInbound = new("--bypass-inbound") { Description = "leave connections to the pod alone" };
    private static readonly Option<string[]> VirtualInterfaces = new("--virtual-interface") { Description = "interface of a virtual machine in the pod, whose connections count as the pod's own; several are allowed" };
    private static readonly Option<string[]> Pods = new("--pod") { Description = "address of a pod; several are allowed", Required = true };

    public static Command Create()
    {
        Option[] rules = [CaptureDns, BypassInbound, VirtualInterfaces];
        return new Command("redirect", "send a network namespace's connections through the ztunnel, by the rules of Istio's CNI")
        {
            Of("add", "put the rules in; needs root", [Netns, .. rules], (redirection, parsed) => redirection.AddAsync(OptionsOf(parsed))),
            Of("remove", "take the rules out again; needs root", [Netns], (redirection, _) => redirection.RemoveAsync()),
            Of("show", "print the rules", rules, (_, parsed) => ShowAsync(OptionsOf(parsed), parsed.InvocationConfiguration.Output)),
            Of("add-probes", "let the node's own connections to pods pass in plain text; in the node's namespace, needs root", [Netns, Pods], (redirection, parsed) => ChangeProbesAsync(redirection, parsed, isAdded: true)),
            Of("remove-probes", "take that back", [Netns, Pods], (redirection, parsed) => ChangeProbesAsync(redirection, parsed, isAdded: false)),
        };
    }

    private static Command Of(string name, string description, IEnumerable<Option> options, Func<Redirection, ParseResult, Task> run)
    {
        var command = new Command(name, description);
        foreach (var option in options)
        {
            command.Add(option);
        }

        command.SetAction(async (parsed, _) =>
        {
            try
            {
                var netns = command.Options.Contains(Netns) ? parsed.GetValue(Netns) : null;
                await run(new Redirection(new NamespacePrograms(NamespacePrograms.PathOf(netns))), parsed);
                return 0;
            }
            catch (RedirectionException e)
            {
                await parsed.InvocationConfiguration.Error.WriteLineAsync(e.Message);
                return 1;
            }
        });
        return command;
    }

    // Names of interfaces stand in lines that another program reads.
    private static RedirectionOptions OptionsOf(ParseResult parsed)
    {
        var interfaces = parsed.GetValue(VirtualInterfaces) ?? [];
        var wrong = interfaces.FirstOrDefault(name => name.Length is 0 or > 15 || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-' or '@' or ':'));
        return wrong is null
            ? new RedirectionOptions { CapturesDns = parsed.GetValue(CaptureDns), BypassesInbound = parsed.GetValue(BypassInbound), VirtualInterfaces = interfaces }
            : throw new RedirectionException($"--virtual-interface is '{wrong}'; allowed: 1 to 15 letters, digits and . _ - @ :");
    }

    private static async Task ShowAsync(RedirectionOptions options, TextWriter output)
    {
        foreach (var (family, program) in new[] { (AddressFamily.InterNetwork, "iptables-restore"), (AddressFamily.InterNetworkV6, "ip6tables-restore") })
        {
            await output.WriteLineAsync($"# {program} --noflush");
            await output.WriteAsync(RedirectionRules.Tables(family, options));
            foreach (var route in RedirectionRules.Routes(family, isAdded: true))
            {
                await output.WriteLineAsync($"# ip {string.Join(' ', route)}");
            }
        }
    }

    private static async Task ChangeProbesAsync(Redirection redirection, ParseResult parsed, bool isAdded)
    {
        foreach (var pod in parsed.GetValue(Pods) ?? [])
        {
            if (!NetworkAddress.TryParseAddress(pod, out var address))
            {
                throw new RedirectionException($"--pod is '{pod}'; allowed: IPv4 and IPv6 addresses");
            }

            await redirection.ChangeProbesAsync(address, isAdded);
        }
    }
}
