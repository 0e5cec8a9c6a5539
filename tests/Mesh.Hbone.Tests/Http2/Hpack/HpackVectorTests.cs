using System.Buffers;
using System.Text.Json;

namespace Mesh.Hbone.Http2.Hpack;

/// <summary>Header blocks of other implementations.</summary>
public sealed class HpackVectorTests
{
    private static readonly string Root = Path.Combine(AppContext.BaseDirectory, "Vectors");

    public static TheoryData<string> Stories => [.. Directory.GetFiles(Root, "story_*.json", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(Root, file)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Stories))]
    public void A_story_of_another_encoder_decodes_block_by_block_and_survives_our_own_encoder(string story)
    {
        var decoder = new HpackDecoder(4096, 1024 * 1024);
        var ownDecoder = new HpackDecoder(4096, 1024 * 1024);
        var ownEncoder = new HpackEncoder();
        using var json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Root, story)));
        foreach (var block in json.RootElement.GetProperty("cases").EnumerateArray())
        {
            var expected = block.GetProperty("headers").EnumerateArray().SelectMany(header => header.EnumerateObject())
                .Select(field => new HeaderField(field.Name, field.Value.GetString()!)).ToList();
            Assert.Equal(expected, Decode(decoder, Convert.FromHexString(block.GetProperty("wire").GetString()!)));

            var output = new ArrayBufferWriter<byte>();
            ownEncoder.Encode(expected, output);
            Assert.Equal(expected, Decode(ownDecoder, output.WrittenSpan));
        }
    }

    private static List<HeaderField> Decode(HpackDecoder decoder, ReadOnlySpan<byte> wire)
    {
        var fields = new List<HeaderField>();
        Assert.True(decoder.Decode(wire, fields));
        return fields;
    }
}
