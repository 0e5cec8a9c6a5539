using System.Net;
using System.Net.Sockets;

namespace Mesh.Cli.Redirect;

/// <summary>Puts the rules of redirection into a network namespace and takes them out again.</summary>
internal sealed class Redirection(NamespacePrograms programs)
{
    private static readonly AddressFamily[] Families = [AddressFamily.InterNetwork, AddressFamily.InterNetworkV6];

    /// <summary>Puts the rules in; those that an earlier call put in are replaced, at no moment without any. What fails at first is taken out again.</summary>
    /// <exception cref="RedirectionException">It failed.</exception>
    public async Task AddAsync(RedirectionOptions options)
    {
        var isFirst = true;
        try
        {
            foreach (var family in Families)
            {
                if (!await HasFamilyAsync(family))
                {
                    continue;
                }

                var hooked = new HashSet<(string, string)>();
                foreach (var (table, hook, chain) in RedirectionRules.Chains)
                {
                    if (await programs.TryRunAsync(IpTables(family), ["-w", "-t", table, "-C", hook, "-j", chain]) is null)
                    {
                        hooked.Add((table, hook));
                        isFirst = false;
                    }
                }

                await programs.RunAsync($"{IpTables(family)}-restore", ["-w", "--noflush"], RedirectionRules.Tables(family, options, (table, hook) => hooked.Contains((table, hook))));
                if (!options.CapturesDns)
                {
                    await RemoveChainsAsync(family, "raw");
                }

                foreach (var route in RedirectionRules.Routes(family, isAdded: true))
                {
                    if (await programs.TryRunAsync("ip", route) is { } error && !error.Contains("File exists", StringComparison.Ordinal) && !await IsSwitchedOffAsync(family))
                    {
                        throw new RedirectionException(error);
                    }
                }
            }
        }
        catch (RedirectionException) when (isFirst)
        {
            await RemoveAsync();
            throw;
        }
    }

    /// <summary>Takes out what <see cref="AddAsync"/> put in; what is not there is passed over.</summary>
    public async Task RemoveAsync()
    {
        foreach (var family in Families)
        {
            if (!await HasFamilyAsync(family))
            {
                continue;
            }

            foreach (var table in RedirectionRules.Chains.Select(chain => chain.Table).Distinct())
            {
                await RemoveChainsAsync(family, table);
            }

            foreach (var route in RedirectionRules.Routes(family, isAdded: false))
            {
                await programs.TryRunAsync("ip", route);
            }
        }
    }

    /// <summary>Lets the node's connections to a pod, its probes, reach it in plain text; or takes that back. In the namespace of the node.</summary>
    /// <exception cref="RedirectionException">It failed.</exception>
    public async Task ChangeProbesAsync(IPAddress pod, bool isAdded)
    {
        var (iptables, chain, rule) = (IpTables(pod.AddressFamily), RedirectionRules.ProbeChain, RedirectionRules.ProbeRule(pod));
        if (!isAdded)
        {
            await programs.RunAsync(iptables, ["-w", "-t", "nat", "-D", chain, .. rule]);
            return;
        }

        // It may be there already; the checks say.
        await programs.TryRunAsync(iptables, ["-w", "-t", "nat", "-N", chain]);
        if (await programs.TryRunAsync(iptables, ["-w", "-t", "nat", "-C", "POSTROUTING", "-j", chain]) is not null)
        {
            await programs.RunAsync(iptables, ["-w", "-t", "nat", "-I", "POSTROUTING", "1", "-j", chain]);
        }

        if (await programs.TryRunAsync(iptables, ["-w", "-t", "nat", "-C", chain, .. rule]) is not null)
        {
            await programs.RunAsync(iptables, ["-w", "-t", "nat", "-A", chain, .. rule]);
        }
    }

    private async Task RemoveChainsAsync(AddressFamily family, string table)
    {
        foreach (var (_, hook, chain) in RedirectionRules.Chains.Where(chain => chain.Table == table))
        {
            // However often it is there.
            while (await programs.TryRunAsync(IpTables(family), ["-w", "-t", table, "-D", hook, "-j", chain]) is null)
            {
            }

            if (await programs.TryRunAsync(IpTables(family), ["-w", "-t", table, "-F", chain]) is null)
            {
                await programs.RunAsync(IpTables(family), ["-w", "-t", table, "-X", chain]);
            }
        }
    }

    // A kernel without IPv6 has no such file. Where links are only not up yet, the rules must be there before them.
    private async Task<bool> HasFamilyAsync(AddressFamily family) =>
        family is AddressFamily.InterNetwork || await programs.TryRunAsync("test", ["-e", "/proc/net/if_inet6"]) is null;

    private async Task<bool> IsSwitchedOffAsync(AddressFamily family) =>
        family is AddressFamily.InterNetworkV6 && await programs.TryRunAsync("grep", ["-qx", "1", "/proc/sys/net/ipv6/conf/lo/disable_ipv6"]) is null;

    private static string IpTables(AddressFamily family) => family is AddressFamily.InterNetwork ? "iptables" : "ip6tables";
}
