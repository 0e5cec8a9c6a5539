using Mesh.Hbone.Http2;
using static Mesh.Hbone.Conformance.Given;
using static Mesh.Hbone.Conformance.Reaction;
using static Mesh.Hbone.Http2.FrameFlags;
using static Mesh.Hbone.Http2.Http2ErrorCode;

namespace Mesh.Hbone.Conformance;

/// <summary>RFC 9113, sections 6.6 and 8.4: PUSH_PROMISE, which we take from nobody.</summary>
public sealed class Section6_6_PushPromiseTests
{
    private const string NotForServers = "A client cannot push: servers MUST treat PUSH_PROMISE as a connection error of type PROTOCOL_ERROR.";
    private const string NotAllowed = "An endpoint that has set SETTINGS_ENABLE_PUSH to 0 and has it acknowledged MUST treat PUSH_PROMISE as a connection error of type PROTOCOL_ERROR.";

    private static readonly ConformanceTable Cases =
    [
        .. Refused("PUSH_PROMISE", Tunnel, Promise(EndHeaders, 1, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE before any answer", Requested, Promise(EndHeaders, 1, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE on stream 0", Tunnel, Promise(EndHeaders, 0, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE on an idle stream", Tunnel, Promise(EndHeaders, 7, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE that is to be continued", Tunnel, Promise(None, 1, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE of an odd stream", Tunnel, Promise(EndHeaders, 1, 0, 0, 0, 3, 0x82)),
        .. Refused("PUSH_PROMISE of stream 0", Tunnel, Promise(EndHeaders, 1, 0, 0, 0, 0, 0x82)),
        .. Refused("PUSH_PROMISE with more padding than payload", Tunnel, Promise(EndHeaders | Padded, 1, 200, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE on a stream that it has ended", PeerEnded, Promise(EndHeaders, 1, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE on a stream that both have ended", BothEnded, Promise(EndHeaders, 1, 0, 0, 0, 2, 0x82)),
        .. Refused("PUSH_PROMISE on a stream that we have reset", WeReset, Promise(EndHeaders, 1, 0, 0, 0, 2, 0x82)),
        new("8.4", "a push without a promise", "A stream of the server's that was not promised is idle: HEADERS on it MUST be treated as a connection error of type PROTOCOL_ERROR (section 5.1).", Tunnel, Frame.Headers(2, EndHeaders, (":status", "200")), ConnectionError(ProtocolError)) { Only = Ours.Client },
    ];

    public static TheoryData<string, Ours, string> Names => Cases.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public Task The_rule_holds(string section, Ours ours, string peer) => Cases.RunAsync(section, ours, peer);

    private static byte[] Promise(FrameFlags flags, int stream, params ReadOnlySpan<byte> payload) => Frame.Of(FrameType.PushPromise, flags, stream, payload);

    private static IEnumerable<ConformanceCase> Refused(string name, Given given, byte[] frame) =>
    [
        new("8.4", name, NotForServers, given, frame, ConnectionError(ProtocolError)) { Only = Ours.Server },
        new("6.6", name, NotAllowed, given, [.. Frame.Of(FrameType.Settings, Ack, 0), .. frame], ConnectionError(ProtocolError)) { Only = Ours.Client },
    ];
}
