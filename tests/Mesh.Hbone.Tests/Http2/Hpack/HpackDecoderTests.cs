using System.Buffers;
using System.Text;

namespace Mesh.Hbone.Http2.Hpack;

public sealed class HpackDecoderTests
{
    private const int TableSize = 4096;

    [Theory]
    [InlineData("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header")] // C.2.1
    [InlineData("040c2f73616d706c652f70617468", ":path: /sample/path")] // C.2.2
    [InlineData("100870617373776f726406736563726574", "password: secret")] // C.2.3
    [InlineData("82", ":method: GET")] // C.2.4
    public void The_representations_of_appendix_C_2_decode(string wire, string field) =>
        Assert.Equal([field], Decode(new HpackDecoder(TableSize, 1000), wire));

    [Theory]
    [InlineData("828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865", "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")] // C.3
    [InlineData("828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")] // C.4
    public void The_requests_of_appendix_C_decode_one_after_the_other(string first, string second, string third)
    {
        var decoder = new HpackDecoder(TableSize, 1000);
        string[] request = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
        Assert.Equal(request, Decode(decoder, first));
        Assert.Equal([.. request, "cache-control: no-cache"], Decode(decoder, second));
        Assert.Equal([":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"], Decode(decoder, third));
    }

    [Theory]
    [InlineData( // C.5
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31")]
    [InlineData( // C.6
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007")]
    public void The_responses_of_appendix_C_evict_from_a_table_of_256(string first, string second, string third)
    {
        var decoder = new HpackDecoder(256, 1000);
        string[] rest = ["cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT", "location: https://www.example.com"];
        Assert.Equal([":status: 302", .. rest], Decode(decoder, first));
        Assert.Equal([":status: 307", .. rest], Decode(decoder, second));
        Assert.Equal(
            [
                ":status: 200", "cache-control: private", "date: Mon, 21 Oct 2013 20:13:22 GMT", "location: https://www.example.com", "content-encoding: gzip",
                "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ],
            Decode(decoder, third));
    }

    [Theory]
    [InlineData("80", "index 0 is not in the tables, which have 61 entries")]
    [InlineData("be", "index 62 is not in the tables, which have 61 entries")]
    [InlineData("7f0000", "index 63 is not in the tables, which have 61 entries")]
    [InlineData("ff", "the header block ends within an integer")]
    [InlineData("ff80", "the header block ends within an integer")]
    [InlineData("ff8080808001", "an integer has more than 4 continuation octets")]
    [InlineData("ffffffffffffffffffff7f", "an integer has more than 4 continuation octets")]
    [InlineData("40", "the header block ends before a string")]
    [InlineData("400161", "the header block ends before a string")]
    [InlineData("400a6375", "a string of 10 octets does not fit the 2 that are left of the header block")]
    [InlineData("00017f", "the header block ends before a string")]
    [InlineData("047fffffff7f", "does not fit the 0 that are left of the header block")]
    [InlineData("0484ffffffff", "a Huffman-coded string contains the end-of-string symbol")]
    [InlineData("8220", "a table size update stands behind a header field")]
    [InlineData("3fe21f", "a table size update to 4097 is over the announced 4096")]
    public void A_block_that_is_wrong_says_what_is_wrong(string wire, string fault) =>
        Assert.Contains(fault, Assert.Throws<HpackException>(() => Decode(new HpackDecoder(TableSize, 1000), wire)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("18", "wrong padding")] // 'a' (00011) and 000
    [InlineData("1fff", "wrong padding")] // 'a' and eleven ones
    [InlineData("ff", "wrong padding")] // eight ones and no symbol
    [InlineData("fffffffc", "end-of-string")]
    [InlineData("1fffffffff", "end-of-string")]
    [InlineData("1c", "wrong padding")] // 'a' and 100
    public void A_Huffman_code_ends_in_at_most_seven_ones_and_holds_no_end_of_string(string coded, string fault)
    {
        Assert.Equal("a", Huffman.Decode([0x1f]));
        Assert.Contains(fault, Assert.Throws<HpackException>(() => Huffman.Decode(Convert.FromHexString(coded))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_octet_survives_the_Huffman_code()
    {
        var text = Encoding.Latin1.GetString([.. Enumerable.Range(0, 256).Select(i => (byte)i)]);
        var coded = new ArrayBufferWriter<byte>();
        Huffman.Encode(text, coded);
        Assert.Equal(Huffman.EncodedLength(text), coded.WrittenCount);
        Assert.Equal(text, Huffman.Decode(coded.WrittenSpan));
    }

    [Theory]
    [InlineData(10, 5, "0a")] // C.1.1
    [InlineData(1337, 5, "1f9a0a")] // C.1.2
    [InlineData(42, 8, "2a")] // C.1.3
    [InlineData(30, 5, "1e")]
    [InlineData(31, 5, "1f00")]
    [InlineData(0, 4, "00")]
    [InlineData(268435486, 5, "1fffffff7f")]
    public void Integers_have_one_form(int value, int prefixBits, string wire)
    {
        var output = new ArrayBufferWriter<byte>();
        HpackInteger.Write(output, 0, prefixBits, value);
        Assert.Equal(wire, Convert.ToHexStringLower(output.WrittenSpan));
        ReadOnlySpan<byte> source = output.WrittenSpan;
        Assert.Equal(value, HpackInteger.Read(ref source, prefixBits));
        Assert.True(source.IsEmpty);
    }

    [Fact]
    public void Size_updates_at_the_beginning_empty_and_reopen_the_table()
    {
        var decoder = new HpackDecoder(TableSize, 1000);
        Decode(decoder, "400a637573746f6d2d6b65790d637573746f6d2d686561646572");
        Assert.Equal(["custom-key: custom-header"], Decode(decoder, "be"));
        Assert.Equal([":method: GET"], Decode(decoder, "203fe11f82"));
        Assert.Throws<HpackException>(() => Decode(decoder, "be"));
    }

    [Fact]
    public void An_entry_larger_than_the_table_empties_it()
    {
        var decoder = new HpackDecoder(64, 10_000);
        Decode(decoder, "4001610162");
        Assert.Equal(["a: b"], Decode(decoder, "be"));
        Decode(decoder, "40016128" + string.Concat(Enumerable.Repeat("61", 40)));
        Assert.Throws<HpackException>(() => Decode(decoder, "be"));
    }

    [Fact]
    public void A_list_over_the_limit_is_cut_and_the_table_stays_right()
    {
        var decoder = new HpackDecoder(TableSize, maxHeaderListSize: 80);
        var fields = new List<HeaderField>();

        // Two new fields of 34 octets, one of 52 that is over the limit, in this order of the table.
        Assert.False(decoder.Decode(Convert.FromHexString("4001610162" + "4001630164" + "400a6161616161616161616109626262626262626262"), fields));
        Assert.Equal([new HeaderField("a", "b"), new HeaderField("c", "d")], fields);
        Assert.Equal(["aaaaaaaaaa: bbbbbbbbb"], Decode(decoder, "be"));
        Assert.Equal(["c: d"], Decode(decoder, "bf"));
    }

    private static List<string> Decode(HpackDecoder decoder, string wire)
    {
        var fields = new List<HeaderField>();
        Assert.True(decoder.Decode(Convert.FromHexString(wire), fields));
        return [.. fields.Select(field => $"{field.Name}: {field.Value}")];
    }
}
