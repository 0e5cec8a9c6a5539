using Mesh.Hbone.Http2;
using Mesh.Testing;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, section 5.1.1: the numbers of streams.</summary>
public sealed class Section5_1_1_StreamIdentifierTests
{
    private const string Unexpected = "An endpoint that receives an unexpected stream identifier MUST respond with a connection error of type PROTOCOL_ERROR.";
    private const string Skipped = "A stream identifier that was skipped is closed from then on, and closed streams take what may be late.";

    private static readonly ConformanceTable Cases =
    [
        new("5.1.1", "a request on stream 0", "Stream 0 cannot be used to establish a new stream.", Prefaces, Frame.Connect(0), ConnectionError(ProtocolError)) { Only = Ours.Server },
        new("5.1.1", "a response on stream 0", "Stream 0 is for the connection.", Requested, Frame.Headers(0, EndHeaders, (":status", "200")), ConnectionError(ProtocolError)) { Only = Ours.Client },
        new("5.1.1", "a request on an even stream", "Streams initiated by a client MUST use odd-numbered identifiers. " + Unexpected, Prefaces, Frame.Connect(2), ConnectionError(ProtocolError)) { Only = Ours.Server },
        new("5.1.1", "a request on a stream below one that it has opened", "A new identifier MUST be greater than all that the endpoint has opened. " + Unexpected, Prefaces, [.. Frame.Connect(5), .. Frame.Connect(3)], ConnectionError(ProtocolError, lastStream: 5)) { Only = Ours.Server },
        new("5.1.1", "a request on a stream above those that it has opened", "Identifiers can be skipped.", Tunnel, Frame.Connect(9), HandedOut(9, (":method", "CONNECT"), (":authority", "10.0.0.1:80"))) { Only = Ours.Server },
        new("5.1.1", "WINDOW_UPDATE on a stream that it has skipped", Skipped, Prefaces, [.. Frame.Connect(5), .. Frame.Number32(FrameType.WindowUpdate, 3, 1)], HandedOut(5, (":method", "CONNECT"), (":authority", "10.0.0.1:80"))) { Only = Ours.Server },
        new("5.1.1", "RST_STREAM on a stream that it has skipped", Skipped, Prefaces, [.. Frame.Connect(5), .. Frame.Number32(FrameType.RstStream, 3, 8)], HandedOut(5, (":method", "CONNECT"), (":authority", "10.0.0.1:80"))) { Only = Ours.Server },
        new("5.1.1", "a request on stream 2^31-1", "Identifiers have 31 bits.", Prefaces, Frame.Connect(int.MaxValue), Story(async stage =>
        {
            var stream = await stage.Peer.Requests.Reader.ReadAsync().InTime();
            await stage.AcceptAsync(stream);
            await stage.UseAsync(stream);
        })) { Only = Ours.Server },
        new("5.1.1", "answers to three requests", "A client's identifiers are odd, and each is greater than those before.", Prefaces, null, Story(async stage =>
        {
            foreach (var id in (int[])[1, 3, 5])
            {
                await stage.UseAsync(await stage.TunnelAsync(id));
            }
        })) { Only = Ours.Client },
        new("5.1.1", "a response to a request that we have not made yet", Unexpected, Tunnel, Frame.Headers(3, EndHeaders, (":status", "200")), ConnectionError(ProtocolError)) { Only = Ours.Client },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);
}
