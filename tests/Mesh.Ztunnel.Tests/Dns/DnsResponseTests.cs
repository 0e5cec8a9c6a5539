using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

public sealed class DnsResponseTests
{
    private static readonly DnsEdns Edns = new(1232, 0, DnssecOk: true);

    [Fact]
    public void An_answer_carries_the_id_the_question_in_its_case_and_compressed_names()
    {
        var answer = new DnsAnswer(DnsResponseCode.NoError) { Authoritative = true, Answers = [Address("CaRt", "10.0.0.1", 30)] };
        var message = DnsResponse.Write(Query("CaRt", id: 0x1267), answer, DnsResponse.MinUdpLength);
        Assert.Equal("1267 8580 0001 0001 0000 0000 04 43615274 00 0001 0001 C00C 0001 0001 0000001E 0004 0A000001".Replace(" ", ""), Convert.ToHexString(message));
    }

    [Fact]
    public void The_target_of_an_alias_is_pointed_to()
    {
        var answer = new DnsAnswer(DnsResponseCode.NoError) { Answers = [Alias("a.b", "b"), Address("b", "10.0.0.1")] };
        var message = DnsResponse.Write(Query("a.b"), answer, DnsResponse.MinUdpLength);
        Assert.Equal(12 + 9 + (12 + 2) + (12 + 4), message.Length);
        Assert.Equal("NOERROR; a.b CNAME b; b A 10.0.0.1", Show(DnsText.Read(message, Query("a.b"))));
    }

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, true)]
    [InlineData(true, true, true)]
    public void RD_and_CD_are_the_clients_and_RA_is_always_set(bool recursionDesired, bool checkingDisabled, bool authenticData)
    {
        var query = Query("cart") with { RecursionDesired = recursionDesired, CheckingDisabled = checkingDisabled, AuthenticData = authenticData };
        var message = DnsResponse.Write(query, new DnsAnswer(DnsResponseCode.NxDomain) { AuthenticData = true }, DnsResponse.MinUdpLength);
        Assert.True(DnsHeader.TryRead(message, out var header));
        Assert.True(header is { IsResponse: true, Opcode: 0, Code: 3 } && header.Has(DnsHeader.RecursionAvailable) && !header.Has(DnsHeader.AuthoritativeAnswer));
        Assert.Equal(
            (recursionDesired, checkingDisabled, authenticData),
            (header.Has(DnsHeader.RecursionDesired), header.Has(DnsHeader.CheckingDisabled), header.Has(DnsHeader.AuthenticData)));
    }

    [Theory]
    [InlineData(1232, 0, true, 1232)]
    [InlineData(4096, 0, false, 4096)]
    [InlineData(100, 0, false, 512)]
    [InlineData(0, 1, true, 512)]
    public void EDNS_is_echoed_with_512_octets_at_least(int payload, int version, bool dnssecOk, int echoed)
    {
        var query = Query("cart", edns: new DnsEdns((ushort)payload, (byte)version, dnssecOk));
        var message = DnsResponse.Write(query, new DnsAnswer(DnsResponseCode.NoError), DnsResponse.MinUdpLength);
        Assert.Equal($"000029{echoed:X4}00{version:X2}{(dnssecOk ? "8000" : "0000")}0000", Convert.ToHexString(message.AsSpan(12 + 10)));
        Assert.True(DnsHeader.TryRead(message, out var header));
        Assert.Equal(1, header.Additional);
    }

    [Fact]
    public void Who_does_not_speak_EDNS_gets_none() =>
        Assert.Equal(12 + 10, DnsResponse.Write(Query("cart"), new DnsAnswer(DnsResponseCode.NoError), DnsResponse.MinUdpLength).Length);

    [Fact]
    public void A_code_above_15_is_SERVFAIL_to_who_does_not_speak_EDNS()
    {
        var badCookie = new DnsAnswer((DnsResponseCode)23);
        Assert.Equal(DnsResponseCode.ServFail, DnsText.Read(DnsResponse.Write(Query("cart"), badCookie, 512), Query("cart")).Code);
        Assert.Equal((DnsResponseCode)23, DnsText.Read(DnsResponse.Write(Query("cart", edns: Edns), badCookie, 512), Query("cart")).Code);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(513)]
    [InlineData(1232)]
    [InlineData(4096)]
    [InlineData(65535)]
    public void What_does_not_fit_is_left_out_whole_records_at_a_time_and_TC_says_so(int limit)
    {
        var answer = new DnsAnswer(DnsResponseCode.NoError) { Answers = [.. Enumerable.Range(0, 256).Select(i => Address("cart", $"10.0.0.{i}"))] };
        var message = DnsResponse.Write(Query("cart", edns: Edns), answer, limit);
        var read = DnsText.Read(message, Query("cart"));
        var fit = Math.Min(256, (limit - 12 - 10 - 11) / 16);
        Assert.InRange(message.Length, 1, limit);
        Assert.Equal((fit, fit < 256), (read.Answers.Length, read.Truncated));
    }

    [Fact]
    public void Authority_that_does_not_fit_is_truncation_but_additional_records_are_extra()
    {
        var records = Enumerable.Range(0, 256).Select(i => Address("cart", $"10.0.0.{i}")).ToArray();
        var additional = DnsText.Read(DnsResponse.Write(Query("cart"), new DnsAnswer(DnsResponseCode.NoError) { Additional = [.. records] }, 512), Query("cart"));
        Assert.Equal((30, false), (additional.Additional.Length, additional.Truncated));
        var authority = DnsText.Read(DnsResponse.Write(Query("cart"), new DnsAnswer(DnsResponseCode.NoError) { Authority = [.. records] }, 512), Query("cart"));
        Assert.Equal((30, true), (authority.Authority.Length, authority.Truncated));
    }

    [Theory]
    [InlineData(null, 512)]
    [InlineData(0, 512)]
    [InlineData(511, 512)]
    [InlineData(1232, 1232)]
    [InlineData(65535, 4096)]
    public void Over_UDP_an_answer_is_as_long_as_the_client_takes_within_bounds(int? payload, int limit) =>
        Assert.Equal(limit, DnsResponse.UdpLimit(payload is { } size ? new DnsEdns((ushort)size, 0, false) : null));
}
