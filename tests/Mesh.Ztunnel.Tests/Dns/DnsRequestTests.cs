using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

/// <summary>What clients send, and what they should not (ztunnel §11).</summary>
public sealed class DnsRequestTests
{
    private const string Header = "1267 0100 0001 0000 0000 0000";
    private const string CartA = "04 63617274 00 0001 0001";

    [Fact]
    public void A_question_is_read()
    {
        var query = Assert.IsType<DnsRequest.Query>(Read($"{Header} {CartA}"));
        Assert.Equal(new DnsRequest.Query(0x1267, Question("cart"), true, false, false, null), query);
    }

    [Fact]
    public void The_flags_of_the_client_are_read()
    {
        var query = Assert.IsType<DnsRequest.Query>(Read($"1267 0030 0001 0000 0000 0000 {CartA}"));
        Assert.Equal((false, true, true), (query.RecursionDesired, query.AuthenticData, query.CheckingDisabled));
    }

    [Fact]
    public void EDNS_is_read()
    {
        var query = Assert.IsType<DnsRequest.Query>(Read($"1267 0100 0001 0000 0000 0001 {CartA} 00 0029 04D0 00 01 8000 0006 000A 0002 ABCD"));
        Assert.Equal(new DnsEdns(1232, 1, DnssecOk: true), query.Edns);
    }

    [Fact]
    public void A_record_of_another_kind_is_passed_over()
    {
        var query = Assert.IsType<DnsRequest.Query>(Read($"1267 0100 0001 0000 0001 0000 {CartA} C00C 0006 0001 00000000 0016 00 00 {new string('0', 40)}"));
        Assert.Null(query.Edns);
    }

    [Theory]
    [InlineData("1267 8100 0001 0000 0000 0000 " + CartA, DnsResponseCode.FormErr, "an answer, no question")]
    [InlineData("1267 0800 0001 0000 0000 0000 " + CartA, DnsResponseCode.NotImp, "opcode 1")]
    [InlineData("1267 1000 0001 0000 0000 0000 " + CartA, DnsResponseCode.NotImp, "opcode 2")]
    [InlineData("1267 2000 0001 0000 0000 0000 " + CartA, DnsResponseCode.NotImp, "opcode 4")]
    [InlineData("1267 2800 0001 0000 0000 0000 " + CartA, DnsResponseCode.NotImp, "opcode 5")]
    [InlineData("1267 0100 0000 0000 0000 0000", DnsResponseCode.FormErr, "0 questions instead of one")]
    [InlineData("1267 0100 0002 0000 0000 0000 " + CartA + CartA, DnsResponseCode.FormErr, "2 questions instead of one")]
    [InlineData("1267 0100 FFFF 0000 0000 0000 " + CartA, DnsResponseCode.FormErr, "65535 questions instead of one")]
    [InlineData(Header, DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 04 63617274", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 04 63617274 00 0001 00", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 3F 63617274 00 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 44 63617274 00 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 84 63617274 00 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " C00C 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " C000 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 04 63617274 C00C 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 04 63617274 C0FF 0001 0001", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + " 04 63617274 C0", DnsResponseCode.FormErr, "the question cannot be read")]
    [InlineData(Header + CartA + " 00", DnsResponseCode.FormErr, "octets after the last record")]
    [InlineData("1267 0100 0001 FFFF FFFF FFFF " + CartA, DnsResponseCode.FormErr, "too short for 196605 records")]
    [InlineData("1267 0100 0001 0000 0000 0001 " + CartA, DnsResponseCode.FormErr, "too short for 1 records")]
    [InlineData("1267 0100 0001 0000 0000 0001 " + CartA + " 00 0029 04D0 00000000 0001", DnsResponseCode.FormErr, "a record cannot be read")]
    [InlineData("1267 0100 0001 0000 0000 0001 " + CartA + " 01 61 00 0029 04D0 00000000 0000", DnsResponseCode.FormErr, "an OPT record twice, in the wrong place or of a name")]
    [InlineData("1267 0100 0001 0001 0000 0000 " + CartA + " 00 0029 04D0 00000000 0000", DnsResponseCode.FormErr, "an OPT record twice, in the wrong place or of a name")]
    [InlineData(
        "1267 0100 0001 0000 0000 0002 " + CartA + " 00 0029 04D0 00000000 0000 00 0029 04D0 00000000 0000",
        DnsResponseCode.FormErr,
        "an OPT record twice, in the wrong place or of a name")]
    public void What_is_no_question_is_refused(string message, object code, string reason)
    {
        var refused = Assert.IsType<DnsRequest.Refused>(Read(message));
        Assert.Equal(((DnsResponseCode)code, reason), (refused.Code, refused.Reason));
        Assert.Equal(0x1267, refused.Header.Id);
    }

    [Fact]
    public void The_refusal_is_a_header_with_the_id_and_opcode_of_the_client()
    {
        var refused = Assert.IsType<DnsRequest.Refused>(Read("1267 2900 0001 0000 0000 0000"));
        Assert.Equal("1267 A984 0000 0000 0000 0000".Replace(" ", ""), Convert.ToHexString(DnsResponse.Write(refused)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("1267 0100 0001 0000 0000 00")]
    [InlineData("1267 8101 0000 0000 0000 0000")]
    public void What_is_no_message_or_says_FORMERR_itself_is_not_answered(string message) => Assert.IsType<DnsRequest.Ignored>(Read(message));

    [Fact]
    public void A_name_of_more_than_255_octets_is_refused()
    {
        var labels = string.Concat(Enumerable.Repeat("01 61", 127));
        Assert.IsType<DnsRequest.Query>(Read($"{Header} {labels} 00 0001 0001"));
        Assert.IsType<DnsRequest.Refused>(Read($"{Header} {labels} 01 61 00 0001 0001"));
    }

    [Fact]
    public void A_long_chain_of_pointers_is_refused()
    {
        // In the data of a record nobody reads stand pointers, each to the one before; a name then begins at the last.
        var pointers = string.Concat(Enumerable.Range(0, 200).Select(i => (0xC000 | (i == 0 ? 12 : 33 + ((i - 1) * 2))).ToString("X4")));
        var last = (0xC000 | (33 + (199 * 2))).ToString("X4");
        var message = $"1267 0100 0001 0000 0000 0002 {CartA} 00 FFFF 0001 00000000 0190 {pointers} {last} 0001 0001 00000000 0000";
        Assert.Equal("a record cannot be read", Assert.IsType<DnsRequest.Refused>(Read(message)).Reason);
    }

    [Fact]
    public void A_message_of_more_than_4096_octets_is_refused()
    {
        var message = new byte[DnsRequest.MaxLength + 1];
        DnsResponse.Write(Query("cart")).CopyTo(message, 0);
        Assert.Equal("longer than a question can be", Assert.IsType<DnsRequest.Refused>(DnsRequest.Read(message)).Reason);
    }

    private static DnsRequest Read(string hex) => DnsRequest.Read(Convert.FromHexString(hex.Replace(" ", "")));
}
