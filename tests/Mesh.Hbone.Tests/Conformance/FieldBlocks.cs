using Mesh.Hbone.Http2;
using Mesh.Testing;

namespace Mesh.Hbone.Conformance;

/// <summary>A field block as octets, and what it has to decode to. The pseudo-headers of a message, which touch no table, stand between the two parts.</summary>
/// <param name="SizeUpdates">What stands at the beginning of the block, in hexadecimal.</param>
/// <param name="Fields">What stands behind the pseudo-headers, in hexadecimal.</param>
/// <param name="Expected">What Fields decodes to.</param>
internal sealed record FieldBlock(string SizeUpdates, string Fields, params (string Name, string Value)[] Expected);

/// <summary>Cases of RFC 7541: field blocks, one after the other on one connection.</summary>
internal static class FieldBlocks
{
    public static ConformanceCase Decodes(string section, string name, string rule, params FieldBlock[] blocks) =>
        new(section, name, rule, Given.Prefaces, null, Reaction.Story(async stage =>
        {
            await DecodeAsync(stage, blocks);
            await stage.LivesAsync();
        }));

    /// <summary>The last of the blocks is a decoding error, which costs the connection (RFC 9113, section 4.3).</summary>
    public static ConformanceCase Fails(string section, string name, string rule, string wrong, params FieldBlock[] before) =>
        new(section, name, rule, Given.Prefaces, null, Reaction.Story(async stage =>
        {
            var last = await DecodeAsync(stage, before);
            if (stage.Ours is Ours.Client)
            {
                await stage.RequestAsync(stage.NextOfOurs);
            }

            await Reaction.ConnectionError(Http2ErrorCode.CompressionError, stage.Ours is Ours.Server ? last : 0)
                .CheckAsync(stage, Frame.Of(FrameType.Headers, FrameFlags.EndHeaders, stage.NextOfOurs, Convert.FromHexString(wrong)));
        }));

    // Each block is a request to our server, or an answer to our client, on a stream of its own. Returns the last stream.
    private static async Task<int> DecodeAsync(Stage stage, FieldBlock[] blocks)
    {
        foreach (var block in blocks)
        {
            var id = stage.NextOfOurs;
            stage.NextOfOurs += 2;

            // :method: CONNECT and :authority: a:1 as literals that are not kept; :status: 200 of the static table.
            var pseudo = stage.Ours is Ours.Server ? "0207434f4e4e4543540103613a31" : "88";
            var octets = Frame.Of(FrameType.Headers, FrameFlags.EndHeaders, id, Convert.FromHexString(block.SizeUpdates + pseudo + block.Fields));
            var stream = stage.Ours is Ours.Client ? await stage.RequestAsync(id) : null;
            await stage.Peer.SendAsync(octets);
            stream ??= await stage.Peer.Requests.Reader.ReadAsync().InTime();
            var fields = stage.Ours is Ours.Server ? stream.RequestHeaders!.Skip(2) : (await stream.Response.Task.InTime()).Skip(1);
            Assert.Equal(block.Expected, fields.Select(field => (field.Name, field.Value)));
            stream.Abort(Http2ErrorCode.Cancel);
            await stage.Peer.ExpectResetAsync(id, Http2ErrorCode.Cancel);
            stream.Release();
        }

        return stage.NextOfOurs - 2 > 0 ? stage.NextOfOurs - 2 : 0;
    }
}
