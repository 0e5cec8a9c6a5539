using System.Net;
using System.Net.Sockets;

namespace Mesh.Cli.Redirect;

/// <summary>What may differ between pods (ztunnel §12.5).</summary>
internal sealed record RedirectionOptions
{
    /// <summary>Whether the pod's DNS goes to the ztunnel too.</summary>
    public bool CapturesDns { get; init; }

    /// <summary>Whether connections to the pod are left alone (<c>ambient.istio.io/bypass-inbound-capture</c>).</summary>
    public bool BypassesInbound { get; init; }

    /// <summary>Interfaces of virtual machines in the pod, whose connections count as the pod's own (<c>istio.io/reroute-virtual-interfaces</c>).</summary>
    public IReadOnlyList<string> VirtualInterfaces { get; init; } = [];
}

/// <summary>The rules that Istio's CNI puts into a pod's network namespace so that its connections go through the ztunnel (ztunnel §12.5). Pure.</summary>
internal static class RedirectionRules
{
    /// <summary>The chains that hold the rules, by table; nothing else is touched.</summary>
    public static readonly IReadOnlyList<(string Table, string Hook, string Chain)> Chains =
    [
        ("mangle", "PREROUTING", Prerouting), ("mangle", "OUTPUT", Output),
        ("nat", "PREROUTING", Prerouting), ("nat", "OUTPUT", Output),
        ("raw", "PREROUTING", Prerouting), ("raw", "OUTPUT", Output),
    ];

    /// <summary>The chain of the node that holds the rules for probes.</summary>
    public const string ProbeChain = "ISTIO_POSTRT";

    private const string Prerouting = "ISTIO_PRERT";
    private const string Output = "ISTIO_OUTPUT";

    // The mark of the ztunnel's own packets, and that of the replies to connections that it made with a client's address.
    private const string Ours = "0x539/0xfff";
    private const string Replies = "0x111/0xfff";
    private const string RoutingTable = "100";
    private const string RulePreference = "32764";

    /// <summary>The address that kubelet's probes come from (ztunnel §12.6).</summary>
    public static string ProbeAddress(AddressFamily family) => family is AddressFamily.InterNetwork ? "169.254.7.127" : "fd16:9254:7127:1337:ffff:ffff:ffff:ffff";

    /// <summary>The rules of one address family, as <c>iptables-restore --noflush</c> reads them. What the chains held before is replaced in one step.</summary>
    /// <param name="family">The family.</param>
    /// <param name="options">What may differ between pods.</param>
    /// <param name="isHooked">Says of a table and a hook whether it leads to its chain already; null when none does.</param>
    public static string Tables(AddressFamily family, RedirectionOptions options, Func<string, string, bool>? isHooked = null)
    {
        IEnumerable<string> Table(string table) => RedirectionRules.Table(table, isHooked ?? ((_, _) => false));
        var isV4 = family is AddressFamily.InterNetwork;
        var loopback = isV4 ? "127.0.0.1/32" : "::1/128";
        var probes = ProbeAddress(family) + (isV4 ? "/32" : "/128");
        List<string> lines =
        [
            .. Table("mangle"),
            $"-A {Prerouting} -m mark --mark {Ours} -j CONNMARK --set-xmark {Replies}",
            $"-A {Output} -m connmark --mark {Replies} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "COMMIT",
            .. Table("nat"),
        ];
        foreach (var name in options.VirtualInterfaces)
        {
            lines.Add($"-A {Prerouting} -i {name} -p tcp -j REDIRECT --to-ports 15001");
            lines.Add($"-A {Prerouting} -i {name} -p tcp -j RETURN");
        }

        if (!options.BypassesInbound)
        {
            lines.Add($"-A {Prerouting} -s {probes} -p tcp -j ACCEPT");
            lines.Add($"-A {Prerouting} ! -d {loopback} -p tcp ! --dport 15008 -m mark ! --mark {Ours} -j REDIRECT --to-ports 15006");
        }

        lines.Add($"-A {Output} -d {probes} -p tcp -j ACCEPT");
        if (options.CapturesDns)
        {
            lines.Add($"-A {Output} ! -o lo -p udp -m udp --dport 53 -m mark ! --mark {Ours} -j REDIRECT --to-ports 15053");
            lines.Add($"-A {Output} ! -d {loopback} -p tcp -m tcp --dport 53 -m mark ! --mark {Ours} -j REDIRECT --to-ports 15053");
        }

        lines.AddRange(
        [
            $"-A {Output} -p tcp -m mark --mark {Replies} -j ACCEPT",
            $"-A {Output} ! -d {loopback} -o lo -j ACCEPT",
            $"-A {Output} ! -d {loopback} -p tcp -m mark ! --mark {Ours} -j REDIRECT --to-ports 15001",
            "COMMIT",
        ]);
        if (options.CapturesDns)
        {
            lines.AddRange(
            [
                .. Table("raw"),
                $"-A {Output} -p udp -m udp --dport 53 -m mark --mark {Ours} -j CT --zone 1",
                $"-A {Prerouting} -p udp -m udp --sport 53 -m mark ! --mark {Ours} -j CT --zone 1",
                "COMMIT",
            ]);
        }

        return string.Join('\n', lines) + "\n";
    }

    /// <summary>The arguments of <c>ip</c> that lead replies to clients' addresses back to the ztunnel, or take that back.</summary>
    public static IReadOnlyList<string[]> Routes(AddressFamily family, bool isAdded)
    {
        string[] ip = family is AddressFamily.InterNetwork ? ["-4"] : ["-6"];
        var change = isAdded ? "add" : "del";
        return
        [
            [.. ip, "rule", change, "fwmark", Replies, "pref", RulePreference, "lookup", RoutingTable],
            [.. ip, "route", change, "local", family is AddressFamily.InterNetwork ? "0.0.0.0/0" : "::/0", "dev", "lo", "table", RoutingTable],
        ];
    }

    /// <summary>By which the node's own connections to a pod, its probes, come from the address that pods let through; in <see cref="ProbeChain"/>.</summary>
    public static string[] ProbeRule(IPAddress pod) =>
        ["-d", pod.ToString(), "-p", "tcp", "-m", "owner", "--socket-exists", "-j", "SNAT", "--to-source", ProbeAddress(pod.AddressFamily)];

    private static IEnumerable<string> Table(string table, Func<string, string, bool> isHooked) =>
    [
        $"*{table}",
        .. Chains.Where(chain => chain.Table == table).Select(chain => $":{chain.Chain} - [0:0]"),
        .. Chains.Where(chain => chain.Table == table && !isHooked(table, chain.Hook)).Select(chain => $"-A {chain.Hook} -j {chain.Chain}"),
    ];
}
