using System.Net;
using Mesh.Testing;
using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

/// <summary>What is forwarded, against an upstream server that does as the test says.</summary>
public sealed class DnsForwarderTests
{
    private static readonly DnsAnswer Here = new(DnsResponseCode.NoError) { Answers = [Address("here.example", "192.0.2.1")] };
    private static readonly DnsAnswer Forged = new(DnsResponseCode.NoError) { Answers = [Address("here.example", "203.0.113.66")] };

    [Fact]
    public async Task The_question_goes_on_as_it_came_and_the_answer_with_all_its_records()
    {
        await using var stage = new DnsStage();
        var whole = new DnsAnswer(DnsResponseCode.NoError)
        {
            Answers = [Alias("here.example", "there.example"), Alias("there.example", "end.example"), Address("end.example", "192.0.2.1", 77)],
            Authority = [Record("example", DnsRecordType.Ns, Name("ns.example").Wire.ToArray())],
            Additional = [Address("ns.example", "192.0.2.53")],
        };
        stage.Upstream.Script = request => [request.Answer(whole)];
        var answer = await stage.AskAsync(Query("HERE.example", id: 7));

        Assert.Equal("NOERROR; HERE.example CNAME there.example; there.example CNAME end.example; end.example A 192.0.2.1", Show(answer));
        Assert.Equal(77u, answer.Answers[2].TimeToLive);
        Assert.Equal(["example NS 026E73076578616D706C6500", "ns.example A 192.0.2.53"], answer.Authority.Concat(answer.Additional).Select(Show));
        var request = Assert.Single(stage.Upstream.Requests);
        Assert.Equal(DnsResponse.Write(Query("HERE.example"))[2..], request.Octets[2..]);
    }

    [Theory]
    [InlineData(15)]
    [InlineData(16)]
    [InlineData(33)]
    [InlineData(65)]
    [InlineData(252)]
    [InlineData(65280)]
    public async Task Any_type_and_any_class_is_forwarded(int type)
    {
        await using var stage = new DnsStage();
        stage.Upstream.Script = request => [request.Answer(new DnsAnswer(DnsResponseCode.NoError) { Answers = [Record("cart", (DnsRecordType)65280, [1, 2, 3])] })];
        var query = Query("cart") with { Question = Question("cart", (DnsRecordType)type) with { Class = 3 } };
        Assert.Equal("NOERROR; cart TYPE65280 010203", Show(await stage.AskAsync(query)));
        Assert.Equal(query.Question, Assert.Single(stage.Upstream.Requests).Query.Question);
    }

    [Fact]
    public async Task Flags_and_EDNS_of_the_client_go_on_but_not_its_options_and_no_more_than_travels_whole()
    {
        await using var stage = new DnsStage();
        await stage.AskUdpAsync(Convert.FromHexString("1267 0110 0001 0000 0000 0001 04 68657265 00 0010 0001 00 0029 1000 00 00 8000 0006 000A 0002 ABCD".Replace(" ", "")));
        var request = Assert.Single(stage.Upstream.Requests);
        Assert.Equal(
            "0110 0001 0000 0000 0001 04 68657265 00 0010 0001 00 0029 04D0 00 00 8000 0000".Replace(" ", ""), Convert.ToHexString(request.Octets.AsSpan(2)));
    }

    [Fact]
    public async Task The_id_and_the_port_of_each_question_are_new()
    {
        await using var stage = new DnsStage(options => options.MaxCacheEntries = 0);
        for (var i = 0; i < 64; i++)
        {
            await stage.AskAsync(Query("here.example", id: 7));
        }

        var requests = stage.Upstream.Requests.ToArray();
        var ids = requests.Select(request => request.Query.Id).ToArray();
        var ports = requests.Select(request => request.Client.Port).ToArray();
        Assert.InRange(ids.Distinct().Count(), 60, 64);
        Assert.InRange(ports.Distinct().Count(), 32, 64);

        // Neither counts up: the next is as often below as above.
        Assert.InRange(ids.Zip(ids.Skip(1)).Count(pair => pair.First < pair.Second), 10, 53);
        Assert.InRange(ports.Zip(ports.Skip(1)).Count(pair => pair.First < pair.Second), 10, 53);
    }

    [Fact]
    public async Task Only_an_answer_with_our_id_and_our_question_is_believed()
    {
        await using var stage = new DnsStage();
        stage.Upstream.Script = request =>
        [
            DnsResponse.Write(request.Query with { Id = (ushort)(request.Query.Id + 1) }, Forged, 512),
            DnsResponse.Write(request.Query with { Question = Question("elsewhere.example") }, Forged, 512),
            DnsResponse.Write(request.Query with { Question = Question("here.example", DnsRecordType.Aaaa) }, Forged, 512),
            request.Octets,
            [],
            [1, 2, 3],
            request.Answer(Here),
        ];
        Assert.Equal("NOERROR; here.example A 192.0.2.1", Show(await stage.AskAsync(Query("here.example"))));
        Assert.Single(stage.Upstream.Requests);
    }

    [Fact]
    public async Task An_answer_from_another_port_is_not_believed()
    {
        using var attacker = Sockets.OpenUdp(new IPEndPoint(IPAddress.Loopback, 0));
        await using var stage = new DnsStage();
        stage.Upstream.Before = async request => await attacker.SendToAsync(request.Answer(Forged), request.Client);
        stage.Upstream.Script = request => [request.Answer(Here)];
        Assert.Equal("NOERROR; here.example A 192.0.2.1", Show(await stage.AskAsync(Query("here.example"))));
    }

    [Fact]
    public async Task When_somebody_guesses_ids_the_server_is_asked_over_TCP()
    {
        await using var stage = new DnsStage();
        stage.Upstream.Script = request => request.Protocol is DnsProtocol.Tcp
            ? [request.Answer(Here)]
            : Enumerable.Range(1, 100).Select(i => DnsResponse.Write(request.Query with { Id = (ushort)(request.Query.Id + i) }, Forged, 512));
        Assert.Equal("NOERROR; here.example A 192.0.2.1", Show(await stage.AskAsync(Query("here.example"))));
        Assert.Equal([DnsProtocol.Udp, DnsProtocol.Tcp], stage.Upstream.Requests.Select(request => request.Protocol));
    }

    [Theory]
    [InlineData(nameof(DnsProtocol.Udp), null, false)]
    [InlineData(nameof(DnsProtocol.Udp), 1232, false)]
    [InlineData(nameof(DnsProtocol.Udp), 4096, true)]
    [InlineData(nameof(DnsProtocol.Tcp), null, true)]
    [InlineData(nameof(DnsProtocol.Tcp), 1232, true)]
    public async Task A_truncated_answer_is_asked_for_over_TCP_when_the_client_takes_more(string protocol, int? payload, bool isAskedAgain)
    {
        await using var stage = new DnsStage();
        var large = new DnsAnswer(DnsResponseCode.NoError) { Answers = [.. Enumerable.Range(0, 100).Select(i => Address("here.example", $"192.0.2.{i}"))] };
        stage.Upstream.Script = request =>
            [DnsResponse.Write(request.Query, large, request.Protocol is DnsProtocol.Tcp ? DnsResponse.MaxTcpLength : DnsResponse.UdpLimit(request.Query.Edns))];
        var query = Query("here.example", edns: payload is { } size ? new DnsEdns((ushort)size, 0, false) : null);
        var answer = await stage.AskAsync(query, Enum.Parse<DnsProtocol>(protocol));
        Assert.Equal((isAskedAgain, !isAskedAgain), (answer.Answers.Length == 100, answer.Truncated));
        Assert.Equal(isAskedAgain ? 2 : 1, stage.Upstream.Requests.Count);
        Assert.True(stage.Upstream.Requests.Select(request => request.Query.Id).Distinct().Count() == stage.Upstream.Requests.Count);
    }

    [Fact]
    public async Task When_the_first_server_is_silent_the_second_is_asked()
    {
        var time = new FakeTimeProvider();
        await using var second = new NameServer { Script = request => [request.Answer(Here)] };
        await using var stage = new DnsStage(options => options.UpstreamServers = [.. options.UpstreamServers!, second.EndPoint], time);
        stage.Upstream.Script = _ => [];
        var answer = stage.AskAsync(Query("here.example"));
        await Eventually.Until("the first server is asked", () => stage.Upstream.Requests.Count == 1);
        Assert.Empty(second.Requests);
        time.Advance(TimeSpan.FromSeconds(2.5));
        Assert.Equal("NOERROR; here.example A 192.0.2.1", Show(await answer.InTime()));
    }

    [Fact]
    public async Task When_nobody_listens_at_the_first_server_the_second_is_asked_at_once()
    {
        // A port that is taken by TCP is nobody else's over UDP.
        var (udp, tcp) = Sockets.BindBoth();
        udp.Dispose();
        using (tcp)
        {
            await using var stage = new DnsStage(options => options.UpstreamServers = [(IPEndPoint)tcp.LocalEndPoint!, .. options.UpstreamServers!], new FakeTimeProvider());
            stage.Upstream.Script = request => [request.Answer(Here)];
            Assert.Equal("NOERROR; here.example A 192.0.2.1", Show(await stage.AskAsync(Query("here.example"))));
        }
    }

    [Fact]
    public async Task When_no_server_answers_in_five_seconds_it_is_SERVFAIL()
    {
        var time = new FakeTimeProvider();
        await using var stage = new DnsStage(time: time);
        stage.Upstream.Script = _ => [];
        var answer = stage.AskAsync(Query("here.example"));
        await Eventually.Until("the server is asked", () => stage.Upstream.Requests.Count == 1);
        time.Advance(TimeSpan.FromSeconds(2.5));
        await Eventually.Until("the server is asked again", () => stage.Upstream.Requests.Count == 2);
        Assert.False(answer.IsCompleted);
        time.Advance(TimeSpan.FromSeconds(2.5));
        Assert.Equal("SERVFAIL", Show(await answer.InTime()));
        Assert.Single(stage.Measurements, line => line.StartsWith("istio_dns_upstream_failures "));
        Assert.DoesNotContain(stage.Upstream.Requests, request => request.Protocol is DnsProtocol.Tcp);
    }

    [Fact]
    public async Task An_answer_that_cannot_be_read_is_no_answer()
    {
        await using var stage = new DnsStage();
        stage.Upstream.Script = request => [[.. request.Answer(Here)[..^1]]];
        Assert.Equal("SERVFAIL", Show(await stage.AskAsync(Query("here.example"))));
        Assert.Equal(2, stage.Upstream.Requests.Count);
    }

    [Fact]
    public async Task Without_servers_it_is_SERVFAIL()
    {
        await using var stage = new DnsStage(options => options.UpstreamServers = []);
        Assert.Equal("SERVFAIL", Show(await stage.AskAsync(Query("here.example"))));
        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(await stage.AskAsync(Query("cart"))));
        Assert.Contains(stage.Lines, line => line.StartsWith("Warning ") && line.Contains("No upstream server is known"));
    }

    [Fact]
    public async Task An_answer_is_kept_and_counts_down_and_has_the_case_of_who_asks()
    {
        var time = new FakeTimeProvider();
        await using var stage = new DnsStage(time: time);
        stage.Upstream.Script = request => [request.Answer(Here)];
        await stage.AskAsync(Query("here.example"));
        time.Advance(TimeSpan.FromSeconds(20));
        var reply = await stage.AskTcpAsync(DnsResponse.Write(Query("HERE.example", id: 99)));
        Assert.Equal("HERE", System.Text.Encoding.ASCII.GetString(reply, 13, 4));
        var answer = DnsText.Read(reply, Query("here.example", id: 99));
        Assert.Equal(("NOERROR; HERE.example A 192.0.2.1", 40u), (Show(answer), answer.Answers[0].TimeToLive));
        Assert.Single(stage.Upstream.Requests);

        time.Advance(TimeSpan.FromSeconds(40));
        await stage.AskAsync(Query("here.example"));
        Assert.Equal(2, stage.Upstream.Requests.Count);
    }

    [Fact]
    public async Task A_negative_answer_is_kept_as_long_as_the_SOA_says_and_goes_with_it()
    {
        var time = new FakeTimeProvider();
        await using var stage = new DnsStage(time: time);
        stage.Upstream.Script = request => [request.Answer(new DnsAnswer(DnsResponseCode.NxDomain) { Authority = [Soa("example", minimum: 30)] })];
        for (var i = 0; i < 2; i++)
        {
            var answer = await stage.AskAsync(Query("gone.example"));
            Assert.Equal(("NXDOMAIN", DnsRecordType.Soa), (Show(answer), Assert.Single(answer.Authority).Type));
            time.Advance(TimeSpan.FromSeconds(15));
        }

        Assert.Single(stage.Upstream.Requests);
        await stage.AskAsync(Query("gone.example"));
        Assert.Equal(2, stage.Upstream.Requests.Count);
    }

    [Fact]
    public async Task Who_wants_no_recursion_or_no_validation_gets_nothing_that_was_kept_for_others()
    {
        await using var stage = new DnsStage();
        stage.Upstream.Script = request => [request.Answer(Here)];
        await stage.AskAsync(Query("here.example"));
        await stage.AskAsync(Query("here.example") with { RecursionDesired = false });
        await stage.AskAsync(Query("here.example") with { CheckingDisabled = true });
        await stage.AskAsync(Query("here.example") with { CheckingDisabled = true });
        Assert.Equal(4, stage.Upstream.Requests.Count);
        await stage.AskAsync(Query("here.example"));
        Assert.Equal(4, stage.Upstream.Requests.Count);
    }

    [Fact]
    public async Task Who_asks_the_same_meanwhile_shares_the_answer()
    {
        var release = new TaskCompletionSource();
        await using var stage = new DnsStage(options => options.MaxUpstreamQueries = 1);
        stage.Upstream.Before = _ => release.Task;
        stage.Upstream.Script = request => [request.Answer(Here)];
        var asked = Enumerable.Range(0, 20).Select(i => stage.AskAsync(Query(i % 2 == 0 ? "here.example" : "HERE.example", id: (ushort)i))).ToArray();
        await Eventually.Until("all have come", () => stage.Measurements.Count(line => line.StartsWith("istio_dns_requests ")) == asked.Length);
        release.SetResult();
        Assert.All(await Task.WhenAll(asked).InTime(), answer => Assert.Equal("NOERROR; here.example A 192.0.2.1", Show(answer), ignoreCase: true));
        Assert.Single(stage.Upstream.Requests);
    }

    [Fact]
    public async Task A_flood_of_names_opens_no_more_sockets_than_are_allowed()
    {
        var release = new TaskCompletionSource();
        await using var stage = new DnsStage(options => options.MaxUpstreamQueries = 5);
        stage.Upstream.Before = _ => release.Task;
        var asked = Enumerable.Range(0, 50).Select(i => stage.AskAsync(Query($"name{i}.example"))).ToArray();
        await Eventually.Until("all but five are answered", () => asked.Count(answer => answer.IsCompleted) == 45);
        Assert.Equal(5, stage.UpstreamSockets);
        release.SetResult();
        var codes = (await Task.WhenAll(asked).InTime()).CountBy(answer => answer.Code).ToDictionary();
        Assert.Equal((45, 5), (codes[DnsResponseCode.ServFail], codes[DnsResponseCode.NxDomain]));
        Assert.Equal(45, stage.Measurements.Count(line => line.StartsWith("istio_dns_upstream_failures ")));
    }
}
