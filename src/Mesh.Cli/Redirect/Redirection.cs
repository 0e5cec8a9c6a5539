using System.Net;
using System.Net.Sockets;

namespace Mesh.Cli.Redirect;

/// <summary>Puts the rules of redirection into a network namespace and takes them out again.</summary>
internal sealed class Redirection(NamespacePrograms programs)
{
    private static readonly AddressFamily[] Families = [AddressFamily.InterNetwork, AddressFamily.InterNetworkV6];

    /// <summary>Puts the rules in; those that an earlier call put in are replaced. What fails half-way is taken out again.</summary>
    /// <exception cref="RedirectionException">It failed.</exception>
    public async Task AddAsync(RedirectionOptions options)
    {
        await RemoveAsync();
        try
        {
            foreach (var family in Families)
            {
                if (await HasFamilyAsync(family))
                {
                    await programs.RunAsync($"{IpTables(family)}-restore", ["--noflush"], RedirectionRules.Tables(family, options));
                    foreach (var route in RedirectionRules.Routes(family, isAdded: true))
                    {
                        await programs.RunAsync("ip", route);
                    }
                }
            }
        }
        catch (RedirectionException)
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

            foreach (var (table, hook, chain) in RedirectionRules.Chains)
            {
                if (await programs.TryRunAsync(IpTables(family), ["-w", "-t", table, "-D", hook, "-j", chain]) is null)
                {
                    await programs.RunAsync(IpTables(family), ["-w", "-t", table, "-F", chain]);
                    await programs.RunAsync(IpTables(family), ["-w", "-t", table, "-X", chain]);
                }
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
        var rules = RedirectionRules.Probes(pod, isAdded);
        string? error = null;
        foreach (var rule in rules)
        {
            error = await programs.TryRunAsync(IpTables(pod.AddressFamily), ["-w", "-t", "nat", .. rule]);
        }

        // The chain may be there already; the rule itself is the last.
        if (error is not null)
        {
            throw new RedirectionException(error);
        }
    }

    // A namespace may have no IPv6, and a machine no ip6tables.
    private async Task<bool> HasFamilyAsync(AddressFamily family) =>
        family is AddressFamily.InterNetwork || await programs.TryRunAsync(IpTables(family), ["-w", "-t", "nat", "-n", "-L", "OUTPUT"]) is null;

    private static string IpTables(AddressFamily family) => family is AddressFamily.InterNetwork ? "iptables" : "ip6tables";
}
