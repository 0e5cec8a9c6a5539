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
                    if (await programs.TryRunAsync("ip", route) is { } error && !error.Contains("File exists", StringComparison.Ordinal))
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
        string? error = null;
        foreach (var rule in RedirectionRules.Probes(pod, isAdded))
        {
            error = await programs.TryRunAsync(IpTables(pod.AddressFamily), ["-w", "-t", "nat", .. rule]);
        }

        // The chain may be there already; the rule itself is the last.
        if (error is not null)
        {
            throw new RedirectionException(error);
        }
    }

    private async Task RemoveChainsAsync(AddressFamily family, string table)
    {
        foreach (var (_, hook, chain) in RedirectionRules.Chains.Where(chain => chain.Table == table))
        {
            if (await programs.TryRunAsync(IpTables(family), ["-w", "-t", table, "-D", hook, "-j", chain]) is null)
            {
                await programs.RunAsync(IpTables(family), ["-w", "-t", table, "-F", chain]);
                await programs.RunAsync(IpTables(family), ["-w", "-t", table, "-X", chain]);
            }
        }
    }

    // Where IPv6 is switched off, no interface has an address of it. Where it is not, its rules must go in.
    private async Task<bool> HasFamilyAsync(AddressFamily family) =>
        family is AddressFamily.InterNetwork || await programs.TryRunAsync("grep", ["-q", ".", "/proc/net/if_inet6"]) is null;

    private static string IpTables(AddressFamily family) => family is AddressFamily.InterNetwork ? "iptables" : "ip6tables";
}
