using System.Net;
using System.Text;
using Mesh.Testing;

namespace Mesh.Ztunnel.Dns;

/// <summary>Clients and servers of somebody else: dig of BIND asks, dnsmasq is upstream.</summary>
public sealed class DnsInteropTests
{
    private const string Dnsmasq = "/usr/sbin/dnsmasq";

    [RequiresProgramTheory("dig", "bind9-dnsutils")]
    [InlineData("+notcp")]
    [InlineData("+tcp")]
    public async Task Dig_sees_of_every_name_what_it_means(string transport)
    {
        await using var stage = new DnsStage();
        var lookups = DnsLookups.All.Select(row => (Name: (string)row[0], Type: (string)row[1], Expected: (string)row[2])).ToArray();
        var batch = Path.GetTempFileName();
        try
        {
            await File.WriteAllLinesAsync(batch, lookups.Select(lookup => $"{lookup.Name} {lookup.Type}"));
            var seen = await DigAsync(stage.EndPoint, transport, "-f", batch);
            Assert.Equal(lookups.Select(lookup => lookup.Expected), seen);
        }
        finally
        {
            File.Delete(batch);
        }
    }

    [RequiresProgramTheory("dig", "bind9-dnsutils", Dnsmasq)]
    [InlineData("+notcp")]
    [InlineData("+tcp")]
    public async Task What_dnsmasq_knows_comes_through(string transport)
    {
        await using var upstream = await StartDnsmasqAsync();
        await using var stage = new DnsStage(options => options.UpstreamServers = [upstream.EndPoint]);
        string[] lookups = ["host A", "host AAAA", "host MX", "alias A", "chain A", "text TXT", "_http._tcp SRV", "gone A", "HOST A"];
        var seen = await DigAsync(stage.EndPoint, [transport, "+noedns", .. lookups.SelectMany(lookup => $"{lookup.Split(' ')[0]}.up.example {lookup.Split(' ')[1]}".Split(' '))]);
        Assert.Equal(
            [
                "NOERROR; host.up.example A 192.0.2.1",
                "NOERROR; host.up.example AAAA 2001:db8::1",
                "NOERROR; host.up.example MX 10 mail.up.example.",
                "NOERROR; alias.up.example CNAME host.up.example; host.up.example A 192.0.2.1",
                "NOERROR; chain.up.example CNAME alias.up.example; alias.up.example CNAME host.up.example; host.up.example A 192.0.2.1",
                "NOERROR; text.up.example TXT \"hello world\"",
                "NOERROR; _http._tcp.up.example SRV 1 2 80 host.up.example.",
                "NXDOMAIN",
                "NOERROR; HOST.up.example A 192.0.2.1",
            ],
            seen);
    }

    [RequiresProgram("dig", "bind9-dnsutils", Dnsmasq)]
    public async Task An_answer_too_long_for_UDP_is_truncated_and_dig_comes_again_over_TCP()
    {
        await using var upstream = await StartDnsmasqAsync();
        await using var stage = new DnsStage(options => options.UpstreamServers = [upstream.EndPoint]);
        foreach (var arguments in (string[][])[["+noedns"], ["+bufsize=1232"], ["+bufsize=4096"]])
        {
            var seen = Assert.Single(await DigAsync(stage.EndPoint, [.. arguments, "large.up.example", "A"]));
            Assert.Equal(101, seen.Split("; ").Length);
        }

        var truncated = Assert.Single(await DigAsync(stage.EndPoint, "+noedns", "+ignore", "large.up.example", "A"));
        Assert.StartsWith("tc NOERROR", truncated);
    }

    [RequiresProgram("dig", "bind9-dnsutils")]
    public async Task Dig_is_told_NOTIMP_for_another_opcode_and_takes_EDNS_as_it_is_echoed()
    {
        await using var stage = new DnsStage();
        Assert.Equal("NOTIMP", Assert.Single(await DigAsync(stage.EndPoint, "+opcode=NOTIFY", "cart", "SOA")));
        var output = await RunDigAsync(stage.EndPoint, "+dnssec", "+bufsize=1400", "cart", "A");
        Assert.Contains("; EDNS: version: 0, flags: do; udp: 1400", output);
        Assert.DoesNotContain("WARNING", output.Replace(";; WARNING: recursion requested", ""));
    }

    private static async Task<Server> StartDnsmasqAsync()
    {
        var (udp, tcp) = Sockets.BindBoth();
        var endPoint = (IPEndPoint)udp.LocalEndPoint!;
        udp.Dispose();
        tcp.Dispose();
        var peer = Peer.Start(
            Dnsmasq,
            [
                "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file", "--log-facility=-", "--user=", "--bind-interfaces",
                "--listen-address=127.0.0.1", $"--port={endPoint.Port}", "--local=/up.example/", "--local-ttl=60",
                "--host-record=host.up.example,192.0.2.1,2001:db8::1", "--cname=alias.up.example,host.up.example", "--cname=chain.up.example,alias.up.example",
                "--txt-record=text.up.example,hello world", "--mx-host=host.up.example,mail.up.example,10", "--srv-host=_http._tcp.up.example,host.up.example,80,1,2",
                .. Enumerable.Range(1, 100).Select(i => $"--host-record=large.up.example,192.0.2.{i}"),
            ]);
        await peer.LogsAsync("started");
        return new Server(peer, endPoint);
    }

    private static async Task<string> RunDigAsync(IPEndPoint server, params IEnumerable<string> arguments)
    {
        await using var dig = Peer.Start(
            "dig", [$"@{server.Address}", "-p", $"{server.Port}", "+time=10", "+tries=1", "+noall", "+comments", "+answer", .. arguments]);
        Assert.Equal(0, await dig.ExitAsync());
        return dig.Output;
    }

    // In the form of DnsText.Show. The records of an answer stay in their order but for addresses.
    private static async Task<IEnumerable<string>> DigAsync(IPEndPoint server, params IEnumerable<string> arguments)
    {
        var output = await RunDigAsync(server, arguments);
        return output.Split(";; Got answer:")[1..].Select(Show);
    }

    private static string Show(string block)
    {
        var lines = block.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        var status = lines.First(line => line.Contains("status: ")).Split("status: ")[1].Split(',')[0];
        var flags = lines.First(line => line.StartsWith(";; flags:")).Split(';')[2].Split(' ');
        var records = lines.Where(line => !line.StartsWith(';')).Select(line => line.Split((char[])['\t', ' '], StringSplitOptions.RemoveEmptyEntries))
            .Select(parts => (Type: parts[3], Text: $"{parts[0].TrimEnd('.')} {parts[3]} {(parts[3] == "CNAME" ? parts[4].TrimEnd('.') : string.Join(' ', parts[4..]))}"))
            .OrderBy(record => record.Type == "CNAME" ? "" : record.Text, StringComparer.Ordinal);
        var line = new StringBuilder();
        line.Append(flags.Contains("aa") ? "aa " : "").Append(flags.Contains("tc") ? "tc " : "").Append(status);
        foreach (var record in records)
        {
            line.Append("; ").Append(record.Text);
        }

        return line.ToString();
    }

    private sealed record Server(Peer Peer, IPEndPoint EndPoint) : IAsyncDisposable
    {
        public ValueTask DisposeAsync() => Peer.DisposeAsync();
    }
}
