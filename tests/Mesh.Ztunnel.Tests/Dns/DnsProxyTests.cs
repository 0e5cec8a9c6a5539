using System.Net;
using System.Net.Sockets;
using Mesh.Core.Workloads;
using Mesh.Testing;
using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

/// <summary>One proxy for the table of lookups.</summary>
public sealed class DnsLookupStage : IAsyncLifetime
{
    internal DnsStage Stage { get; } = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public Task DisposeAsync() => Stage.DisposeAsync().AsTask();
}

/// <summary>Every lookup against the running proxy.</summary>
public sealed class DnsLookupTests(DnsLookupStage running) : IClassFixture<DnsLookupStage>
{
    [Theory]
    [MemberData(nameof(DnsLookups.All), MemberType = typeof(DnsLookups))]
    public async Task Over_UDP_and_TCP_a_name_means_what_it_means(string name, string type, string expected)
    {
        var query = Query(name, DnsLookups.TypeOf(type));
        Assert.Equal(expected, Show(await running.Stage.AskAsync(query, DnsProtocol.Udp)));
        Assert.Equal(expected, Show(await running.Stage.AskAsync(query, DnsProtocol.Tcp)));
    }
}

/// <summary>What clients see of the proxy.</summary>
public sealed class DnsProxyTests
{
    private static readonly byte[] Cart = DnsResponse.Write(Query("cart"));

    [Fact]
    public async Task An_answer_of_the_mesh_has_AA_and_RA_and_the_clients_id_and_RD()
    {
        await using var stage = new DnsStage();
        foreach (var recursionDesired in (bool[])[true, false])
        {
            var query = Query("CaRt", id: 0xBEEF) with { RecursionDesired = recursionDesired };
            var reply = await stage.AskUdpAsync(DnsResponse.Write(query));
            Assert.True(DnsHeader.TryRead(reply, out var header));
            Assert.Equal(0xBEEF, header.Id);
            Assert.Equal(0x8480 | (recursionDesired ? 0x0100 : 0), header.Flags);
            Assert.Equal("CaRt", System.Text.Encoding.ASCII.GetString(reply, 13, 4));
        }

        Assert.Empty(stage.Upstream.Requests);
    }

    [Fact]
    public async Task A_forwarded_answer_has_no_AA_and_the_code_of_the_upstream_server()
    {
        await using var stage = new DnsStage();
        foreach (var code in (DnsResponseCode[])[DnsResponseCode.NoError, DnsResponseCode.NxDomain, DnsResponseCode.Refused, DnsResponseCode.ServFail, DnsResponseCode.NotImp])
        {
            stage.Upstream.Script = request => [request.Answer(new DnsAnswer(code) { Authoritative = true })];
            var reply = await stage.AskUdpAsync(DnsResponse.Write(Query("elsewhere.example", id: 0xBEEF)));
            Assert.True(DnsHeader.TryRead(reply, out var header));
            Assert.Equal((0xBEEF, 0x8180 | (int)code), (header.Id, header.Flags));
        }
    }

    [Theory]
    [InlineData("1267 8100 0001 0000 0000 0000 04 63617274 00 0001 0001", "1267 8181 0000 0000 0000 0000")]
    [InlineData("1267 2900 0001 0000 0000 0000 04 63617274 00 0006 0001", "1267 A984 0000 0000 0000 0000")]
    [InlineData("1267 0100 0001 0000 0000 0000 C00C 0001 0001", "1267 8181 0000 0000 0000 0000")]
    public async Task What_is_no_question_is_refused(string message, string expected)
    {
        await using var stage = new DnsStage();
        var octets = Convert.FromHexString(message.Replace(" ", ""));
        Assert.Equal(expected.Replace(" ", ""), Convert.ToHexString(await stage.AskUdpAsync(octets)));
        Assert.Equal(expected.Replace(" ", ""), Convert.ToHexString(await stage.AskTcpAsync(octets)));
    }

    [Fact]
    public async Task What_is_ignored_or_too_long_does_not_keep_the_next_from_its_answer()
    {
        await using var stage = new DnsStage();
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(stage.EndPoint);
        await socket.SendAsync(new byte[] { 1, 2, 3 });
        await socket.SendAsync(ReadOnlyMemory<byte>.Empty);
        await socket.SendAsync(new byte[20_000]);
        await socket.SendAsync(Cart);
        var buffer = new byte[512];
        while (await socket.ReceiveAsync(buffer).InTime() is var length && length == DnsHeader.Length)
        {
            // The one of 20,000 octets is refused.
            Assert.Equal((byte)DnsResponseCode.FormErr, buffer[3] & 0xF);
        }

        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(DnsText.Read(buffer, Query("cart"))));
    }

    [Theory]
    [InlineData(null, 30)]
    [InlineData(512, 29)]
    [InlineData(1232, 74)]
    [InlineData(4096, 253)]
    [InlineData(65535, 253)]
    public async Task Of_256_addresses_as_many_come_over_UDP_as_fit_and_all_over_TCP(int? payload, int fit)
    {
        await using var stage = new DnsStage();
        var query = Query("large.example", edns: payload is { } size ? new DnsEdns((ushort)size, 0, false) : null);
        var udp = await stage.AskAsync(query);
        Assert.Equal((fit, true), (udp.Answers.Length, udp.Truncated));
        var tcp = await stage.AskAsync(query, DnsProtocol.Tcp);
        Assert.Equal((256, false), (tcp.Answers.Select(Show).Distinct().Count(), tcp.Truncated));
    }

    [Fact]
    public async Task EDNS_is_echoed()
    {
        await using var stage = new DnsStage();
        foreach (var name in (string[])["cart", "elsewhere.example"])
        {
            var reply = await stage.AskUdpAsync(DnsResponse.Write(Query(name, edns: new DnsEdns(1400, 0, DnssecOk: true))));
            Assert.EndsWith("00 0029 0578 00 00 8000 0000".Replace(" ", ""), Convert.ToHexString(reply));
        }
    }

    [Fact]
    public async Task A_client_of_IPv4_at_a_socket_of_IPv6_is_answered()
    {
        await using var stage = new DnsStage(address: IPAddress.IPv6Any);
        var server = new IPEndPoint(IPAddress.Loopback, stage.EndPoint.Port);
        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(DnsText.Read(await stage.AskUdpAsync(Cart, server), Query("cart"))));
        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(DnsText.Read(await stage.AskTcpAsync(Cart, server), Query("cart"))));
    }

    [Fact]
    public async Task A_client_of_IPv6_is_answered()
    {
        await using var stage = new DnsStage(address: IPAddress.IPv6Loopback);
        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(DnsText.Read(await stage.AskUdpAsync(Cart), Query("cart"))));
        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(DnsText.Read(await stage.AskTcpAsync(Cart), Query("cart"))));
    }

    [Fact]
    public async Task Each_pod_has_the_search_domains_of_its_namespace()
    {
        const string Name = "www.example.com.ns2.svc.cluster.local";
        await using var first = new DnsStage();
        await using var second = new DnsStage(workload: _ => ValueTask.FromResult(DnsMesh.Client with { Namespace = "ns2" }));
        Assert.Equal("NXDOMAIN", Show(await first.AskAsync(Query(Name))));
        Assert.Equal($"aa NOERROR; {Name} CNAME www.example.com; www.example.com A 10.97.0.1", Show(await second.AskAsync(Query(Name))));
    }

    [Fact]
    public async Task A_client_whose_workload_is_not_known_is_told_SERVFAIL_and_nobody_is_asked()
    {
        await using var stage = new DnsStage(workload: _ => throw new InvalidOperationException("unknown"));
        Assert.Equal("SERVFAIL", Show(await stage.AskAsync(Query("cart"))));
        Assert.Equal("SERVFAIL", Show(await stage.AskAsync(Query("elsewhere.example"), DnsProtocol.Tcp)));
        Assert.Empty(stage.Upstream.Requests);
        Assert.Empty(stage.Measurements);
    }

    [Fact]
    public async Task Questions_on_one_connection_are_answered_as_they_can_be_not_in_their_order()
    {
        var release = new TaskCompletionSource();
        await using var stage = new DnsStage();
        stage.Upstream.Before = _ => release.Task;
        await using var stream = await stage.ConnectAsync();
        await DnsStream.WriteMessageAsync(stream, DnsResponse.Write(Query("slow.example", id: 1)), default);
        await DnsStream.WriteMessageAsync(stream, DnsResponse.Write(Query("cart", id: 2)), default);
        await DnsStream.WriteMessageAsync(stream, DnsResponse.Write(Query("only2.ns2", id: 3)), default);

        var first = await DnsStream.ReadMessageAsync(stream, 512, default).InTime();
        var second = await DnsStream.ReadMessageAsync(stream, 512, default).InTime();
        Assert.Equal(5, first![1] + second![1]);
        release.SetResult();
        Assert.Equal(1, (await DnsStream.ReadMessageAsync(stream, 512, default).InTime())![1]);
    }

    [Fact]
    public async Task A_client_that_says_it_is_done_still_gets_its_answer()
    {
        var release = new TaskCompletionSource();
        await using var stage = new DnsStage();
        stage.Upstream.Before = _ => release.Task;
        await using var stream = await stage.ConnectAsync();
        await DnsStream.WriteMessageAsync(stream, DnsResponse.Write(Query("slow.example", id: 1)), default);
        stream.Socket.Shutdown(SocketShutdown.Send);
        await Eventually.Until("the upstream server is asked", () => !stage.Upstream.Requests.IsEmpty);
        release.SetResult();
        Assert.NotNull(await DnsStream.ReadMessageAsync(stream, 512, default).InTime());
        Assert.Equal(0, await stream.ReadAsync(new byte[1]).InTime());
    }

    [Theory]
    [InlineData("")]
    [InlineData("00")]
    [InlineData("0020 1267 01")]
    public async Task A_connection_with_no_whole_question_in_five_seconds_is_closed(string octets)
    {
        var time = new FakeTimeProvider();
        await using var stage = new DnsStage(time: time);
        await using var stream = await stage.ConnectAsync();
        await DnsStream.WriteMessageAsync(stream, Cart, default);
        Assert.NotNull(await DnsStream.ReadMessageAsync(stream, 512, default).InTime());
        await stream.WriteAsync(Convert.FromHexString(octets.Replace(" ", "")));

        var closed = stream.ReadAsync(new byte[1]).AsTask();
        time.Advance(TimeSpan.FromSeconds(4));
        Assert.False(closed.IsCompleted);
        await Eventually.Until("it is closed", () =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return closed.IsCompleted;
        });
    }

    [Theory]
    [InlineData("0000")]
    [InlineData("1001 1267")]
    [InlineData("FFFF 1267")]
    public async Task A_length_that_no_question_has_ends_the_connection(string octets)
    {
        await using var stage = new DnsStage();
        await using var stream = await stage.ConnectAsync();
        await stream.WriteAsync(Convert.FromHexString(octets.Replace(" ", "")));
        Assert.Equal(0, await ReadOrZeroAsync(stream));
    }

    [Fact]
    public async Task Connections_beyond_the_bound_are_closed_until_one_ends()
    {
        await using var stage = new DnsStage(options => options.MaxTcpConnections = 2);
        var first = await stage.ConnectAsync();
        await using var second = await stage.ConnectAsync();
        foreach (var open in (NetworkStream[])[first, second])
        {
            await DnsStream.WriteMessageAsync(open, Cart, default);
            Assert.NotNull(await DnsStream.ReadMessageAsync(open, 512, default).InTime());
        }

        Assert.False(IsServed(stage));
        await first.DisposeAsync();
        await Eventually.Until("another one is served", () => IsServed(stage));
    }

    [Fact]
    public async Task Questions_beyond_the_bound_are_told_SERVFAIL()
    {
        var known = new TaskCompletionSource<Workload>();
        var asked = 0;
        await using var stage = new DnsStage(
            options => options.MaxConcurrentQueries = 1,
            workload: token =>
            {
                Interlocked.Increment(ref asked);
                return new ValueTask<Workload>(known.Task.WaitAsync(token));
            });
        var first = stage.AskAsync(Query("cart"));
        await Eventually.Until("the first is under way", () => Volatile.Read(ref asked) == 1);
        Assert.Equal("SERVFAIL", Show(await stage.AskAsync(Query("cart"))));
        known.SetResult(DnsMesh.Client);
        Assert.Equal("aa NOERROR; cart A 10.96.0.1", Show(await first));
    }

    [Fact]
    public async Task A_proxy_that_stops_answers_what_it_was_asked_before()
    {
        var release = new TaskCompletionSource();
        await using var stage = new DnsStage();
        stage.Upstream.Before = _ => release.Task;
        var udp = stage.AskAsync(Query("udp.example"));
        var tcp = stage.AskAsync(Query("tcp.example"), DnsProtocol.Tcp);
        await Eventually.Until("both are forwarded", () => stage.Upstream.Requests.Count == 2);

        var stopped = stage.StopAsync();
        Assert.False(stopped.IsCompleted);
        release.SetResult();
        Assert.Equal(("NXDOMAIN", "NXDOMAIN"), (Show(await udp.InTime()), Show(await tcp.InTime())));
        await stopped.InTime();
    }

    [Fact]
    public async Task A_proxy_that_stops_does_not_wait_for_ever()
    {
        var time = new FakeTimeProvider();
        var asked = new TaskCompletionSource();
        await using var stage = new DnsStage(time: time, workload: async token =>
        {
            asked.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
            return DnsMesh.Client;
        });
        await using var stream = await stage.ConnectAsync();
        await DnsStream.WriteMessageAsync(stream, Cart, default);
        await asked.Task.InTime();

        var stopped = stage.StopAsync();
        Assert.False(stopped.IsCompleted);
        await Eventually.Until("it has stopped", () =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return stopped.IsCompleted;
        });
    }

    [Fact]
    public async Task An_address_that_is_taken_is_named_and_nothing_stays_open()
    {
        await using var stage = new DnsStage();
        var context = Context(Sockets.OpenUdp);
        var error = Assert.Throws<IOException>(() => new DnsProxy(context, [new IPEndPoint(IPAddress.Parse("127.0.0.2"), stage.EndPoint.Port), stage.EndPoint]));
        Assert.StartsWith($"cannot listen on {stage.EndPoint}", error.Message);
        await using var other = new DnsProxy(context, [new IPEndPoint(IPAddress.Parse("127.0.0.2"), stage.EndPoint.Port)]);
    }

    [Fact]
    public void Settings_that_cannot_be_are_refused() =>
        Assert.Throws<ArgumentException>(() => new DnsProxy(Context(Sockets.OpenUdp) with { Options = new DnsProxyOptions { MaxTcpConnections = 0 } }, []));

    [Fact]
    public async Task Requests_are_counted_by_type_protocol_and_source()
    {
        await using var stage = new DnsStage();
        await stage.AskAsync(Query("cart"));
        await stage.AskAsync(Query("cart", DnsRecordType.Aaaa), DnsProtocol.Tcp);
        await stage.AskAsync(Query("elsewhere.example", (DnsRecordType)65280));
        const string Source = "source_canonical_service=web source_canonical_revision=v1";
        Assert.Equal(
            [
                $"istio_dns_requests request_query_type=A request_protocol=udp {Source}",
                $"istio_dns_requests request_query_type=AAAA request_protocol=tcp {Source}",
                $"istio_dns_requests request_query_type=unknown request_protocol=udp {Source}",
                $"istio_dns_upstream_requests request_query_type=unknown request_protocol=udp {Source}",
                $"istio_dns_upstream_request_duration_seconds request_query_type=unknown request_protocol=udp {Source}",
            ],
            stage.Measurements);
    }

    [Fact]
    public async Task Each_question_is_logged_at_debug()
    {
        await using var stage = new DnsStage();
        await stage.AskAsync(Query("several"));
        await stage.AskAsync(Query("elsewhere.example", DnsRecordType.Txt));
        Assert.Equal(
            [
                "Debug dns src.workload=client src.namespace=ns1 query=A domain=several result=the service's addresses endpoints=3",
                "Debug dns src.workload=client src.namespace=ns1 query=TXT domain=elsewhere.example result=NXDOMAIN, forwarded, neither A nor AAAA of the Internet endpoints=0",
            ],
            stage.Lines.Where(line => line.StartsWith("Debug dns ")));
    }

    private static DnsContext Context(Func<IPEndPoint, Socket> openUdp) => new(
        new DnsProxyOptions(),
        DnsMesh.Create(),
        _ => ValueTask.FromResult(DnsMesh.Client),
        new Hbone.Transport.SocketTransportFactory(),
        openUdp,
        new DnsMetrics(new System.Diagnostics.Metrics.Meter("test")),
        TimeProvider.System,
        new SharedRandom(),
        System.Security.Cryptography.RandomNumberGenerator.Create(),
        Microsoft.Extensions.Logging.Abstractions.NullLoggerFactory.Instance);

    // Whether the end comes as one or as a reset depends on what was unread.
    private static async Task<int> ReadOrZeroAsync(NetworkStream stream)
    {
        try
        {
            return await stream.ReadAsync(new byte[1]).InTime();
        }
        catch (IOException)
        {
            return 0;
        }
    }

    private static bool IsServed(DnsStage stage)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.ReceiveTimeout = (int)Eventually.Bound.TotalMilliseconds;
            socket.Connect(stage.EndPoint);
            socket.Send([0, (byte)Cart.Length, .. Cart]);
            return socket.Receive(new byte[512]) > 0;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
