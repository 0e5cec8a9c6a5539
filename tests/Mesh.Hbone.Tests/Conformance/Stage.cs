using Mesh.Hbone.Http2;
using Mesh.Hbone.Http2.Hpack;
using Mesh.Testing;
using static Mesh.Hbone.Http2.FrameFlags;

namespace Mesh.Hbone.Conformance;

/// <summary>Which end of the connection is ours.</summary>
public enum Ours
{
    Server,
    Client,
}

/// <summary>What has happened before the case begins. From Requested on there is a stream 1.</summary>
internal enum Given
{
    /// <summary>The peer has said nothing, not even its preface.</summary>
    Nothing,

    /// <summary>Both have sent their preface.</summary>
    Prefaces,

    /// <summary>Stream 1 is open: a CONNECT that has no answer yet.</summary>
    Requested,

    /// <summary>Stream 1 is a tunnel: the CONNECT was answered with 200.</summary>
    Tunnel,

    /// <summary>A tunnel on which the peer has ended: half-closed (remote).</summary>
    PeerEnded,

    /// <summary>A tunnel on which we have ended: half-closed (local).</summary>
    WeEnded,

    /// <summary>A tunnel that both have ended: closed.</summary>
    BothEnded,

    /// <summary>A tunnel that we have reset: closed.</summary>
    WeReset,

    /// <summary>A tunnel that the peer has reset: closed.</summary>
    PeerReset,
}

/// <summary>A connection of ours, its scripted peer, and the stream 1 of which a case speaks.</summary>
internal sealed class Stage : IAsyncDisposable
{
    private const int AnotherStream = 101;
    private static readonly HeaderField[] Request = [new(":method", "CONNECT"), new(":authority", "10.0.0.1:80")];

    private Stage(Ours ours, Given given, Http2Peer peer) => (Ours, Given, Peer) = (ours, given, peer);

    public Ours Ours { get; }

    public Given Given { get; }

    public Http2Peer Peer { get; }

    /// <summary>Our end of stream 1; null when there is none.</summary>
    public Http2Stream? Stream { get; private set; }

    /// <summary>The last stream of the peer's that was handed to the application, as GOAWAY has to name it.</summary>
    public int LastStreamId => Ours is Ours.Server && Stream is not null ? 1 : 0;

    public static async Task<Stage> SetAsync(Ours ours, Given given, HboneOptions? options = null, params (Http2Setting Id, uint Value)[] settings)
    {
        var stage = new Stage(ours, given, (ours, given) switch
        {
            (Ours.Server, Given.Nothing) => Http2Peer.ConnectToServer(options),
            (Ours.Client, Given.Nothing) => await Http2Peer.ConnectedByClientAsync(options),
            (Ours.Server, _) => await Http2Peer.ClientAsync(options, null, settings),
            _ => await Http2Peer.ServerAsync(options, settings),
        });
        if (given >= Given.Requested)
        {
            await stage.OpenFirstAsync();
        }

        return stage;
    }

    /// <summary>Opens a stream and returns our end of it, its request unanswered.</summary>
    public async Task<Http2Stream> RequestAsync(int id)
    {
        if (Ours is Ours.Server)
        {
            return await Peer.OpenAsync(id);
        }

        var stream = Peer.Connection.OpenStream(Request, int.MaxValue);
        Assert.NotNull(stream);
        await Peer.ExpectAsync(FrameType.Headers, id);
        return stream;
    }

    /// <summary>Answers a request with 200, whoever's it is.</summary>
    public async Task AcceptAsync(Http2Stream stream)
    {
        if (Ours is Ours.Server)
        {
            Peer.Connection.Respond(stream, [new HeaderField(":status", "200")], endStream: false);
            await Peer.ExpectAsync(FrameType.Headers, stream.Id);
            return;
        }

        await Peer.SendAsync(Frame.Headers(stream.Id, EndHeaders, (":status", "200")));
        await stream.Response.Task.InTime();
    }

    public async Task<Http2Stream> TunnelAsync(int id)
    {
        var stream = await RequestAsync(id);
        await AcceptAsync(stream);
        return stream;
    }

    /// <summary>Octets go through a tunnel both ways, and their ends.</summary>
    public async Task UseAsync(Http2Stream stream)
    {
        await Peer.SendAsync(FrameType.Data, EndStream, stream.Id, "to us"u8.ToArray());
        Assert.Equal("to us", await stream.Input.HearAsync().InTime());
        await stream.Output.SayAsync("from us");
        await ExpectEndAsync(stream.Id, "from us");
    }

    /// <summary>Reads what we send on a stream, to its end.</summary>
    public async Task ExpectEndAsync(int stream, string text)
    {
        var all = "";
        Frame frame;
        do
        {
            frame = await Peer.ExpectAsync(FrameType.Data, stream);
            all += System.Text.Encoding.UTF8.GetString(frame.Payload);
        }
        while (!frame.EndsStream);
        Assert.Equal(text, all);
    }

    /// <summary>The connection lives: it has nothing more to say, and another stream works.</summary>
    public async Task LivesAsync()
    {
        await Peer.PingPongAsync();
        Assert.Null(Peer.Connection.Failure);
        while (Peer.Requests.Reader.TryRead(out _))
        {
            // Of what came before.
        }

        await UseAsync(await TunnelAsync(Ours is Ours.Server ? AnotherStream : NextOfOurs));
    }

    /// <summary>On a client: the identifier of the next stream that it opens.</summary>
    public int NextOfOurs { get; set; } = 1;

    public ValueTask DisposeAsync() => Peer.DisposeAsync();

    private async Task OpenFirstAsync()
    {
        Stream = await RequestAsync(1);
        NextOfOurs = 3;
        if (Given > Given.Requested)
        {
            await AcceptAsync(Stream);
        }

        if (Given is Given.PeerEnded or Given.BothEnded)
        {
            await Peer.SendAsync(FrameType.Data, EndStream, 1);
            Assert.Equal("", await Stream.Input.HearAsync().InTime());
        }

        if (Given is Given.WeEnded or Given.BothEnded)
        {
            await Stream.Output.CompleteAsync();
            await ExpectEndAsync(1, "");
        }

        if (Given is Given.WeReset)
        {
            Stream.Abort(Http2ErrorCode.Cancel);
            await Peer.ExpectResetAsync(1, Http2ErrorCode.Cancel);
        }

        if (Given is Given.PeerReset)
        {
            await Peer.SendAsync(Frame.Number32(FrameType.RstStream, 1, (uint)Http2ErrorCode.Cancel));
            await Peer.PingPongAsync();
        }
    }
}
