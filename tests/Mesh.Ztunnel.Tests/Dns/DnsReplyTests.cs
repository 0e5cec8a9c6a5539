using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

/// <summary>What upstream servers send, and who pretends to be one.</summary>
public sealed class DnsReplyTests
{
    private static readonly DnsRequest.Query Asked = Query("cart", id: 0x1267);

    [Theory]
    [InlineData("1267 8180 0001 0000 0000 0000 04 63617274 00 0001 0001", "Answer")]
    [InlineData("1267 8180 0001 0000 0000 0000 04 43415254 00 0001 0001", "Answer")]
    [InlineData("1268 8180 0001 0000 0000 0000 04 63617274 00 0001 0001", "NotOurs")]
    [InlineData("1267 0180 0001 0000 0000 0000 04 63617274 00 0001 0001", "NotOurs")]
    [InlineData("1267 8980 0001 0000 0000 0000 04 63617274 00 0001 0001", "NotOurs")]
    [InlineData("1267 8180 0001 0000 0000 0000 04 63617275 00 0001 0001", "NotOurs")]
    [InlineData("1267 8180 0001 0000 0000 0000 04 63617274 00 001C 0001", "NotOurs")]
    [InlineData("1267 8180 0001 0000 0000 0000 04 63617274 00 0001 0003", "NotOurs")]
    [InlineData("1267 8180 0000 0000 0000 0000", "NotOurs")]
    [InlineData("1267 8180 0002 0000 0000 0000 04 63617274 00 0001 0001 04 63617274 00 0001 0001", "NotOurs")]
    [InlineData("1267 8180", "NotOurs")]
    [InlineData("", "NotOurs")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001", "Malformed")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001 C00C 0001 0001 0000001E 0005 0A000001", "Malformed")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001 C020 0001 0001 0000001E 0004 0A000001", "Malformed")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001 C00C 0005 0001 0000001E 0003 C00C 00", "Malformed")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001 C00C 0005 0001 0000001E 0000", "Malformed")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001 C00C 0006 0001 0000001E 0004 C00C C00C", "Malformed")]
    [InlineData("1267 8180 0001 0001 0000 0000 04 63617274 00 0001 0001 C00C 0005 0001 0000001E 0002 C022", "Malformed")]
    public void It_is_an_answer_with_our_id_and_our_question_only(string message, string kind) =>
        Assert.Equal(kind, DnsReply.Read(Convert.FromHexString(message.Replace(" ", "")), Asked.Id, Asked.Question, out _).ToString());

    [Fact]
    public void Names_in_the_data_of_records_are_written_out()
    {
        const string Message = "1267 8180 0001 0001 0001 0001 04 63617274 00 0001 0001"
            + "C00C 0005 0001 0000003C 0004 01 61 C00C"
            + "C00C 000F 0001 0000003C 0006 000A 01 62 C00C"
            + "C00C 0021 0001 0000003C 0008 0001 0002 0003 C00C";
        Assert.Equal(DnsReplyKind.Answer, DnsReply.Read(Convert.FromHexString(Message.Replace(" ", "")), Asked.Id, Asked.Question, out var answer));
        Assert.Equal("016104636172740" + "0", Convert.ToHexString(answer.Answers[0].Data.Span));
        Assert.Equal("000A016204636172740" + "0", Convert.ToHexString(answer.Authority[0].Data.Span));
        Assert.Equal("00010002000304636172740" + "0", Convert.ToHexString(answer.Additional[0].Data.Span));
    }

    [Fact]
    public void EDNS_of_the_server_is_taken_off_and_its_part_of_the_code_counts()
    {
        const string Message = "1267 8187 0001 0000 0000 0001 04 63617274 00 0001 0001 00 0029 04D0 01 00 0000 0000";
        Assert.Equal(DnsReplyKind.Answer, DnsReply.Read(Convert.FromHexString(Message.Replace(" ", "")), Asked.Id, Asked.Question, out var answer));
        Assert.Equal((23, 0), ((int)answer.Code, answer.Additional.Length));
    }
}
