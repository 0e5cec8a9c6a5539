using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using Mesh.Core.Identity;
using Mesh.Hbone.Http2;
using Mesh.Testing;

namespace Mesh.Hbone.Attacks;

/// <summary>How an attack ended, as the attacker saw it.</summary>
internal sealed class Outcome
{
    private readonly Dictionary<Http2ErrorCode, int> _resets = [];

    /// <summary>The code of the GOAWAY; null when there was none.</summary>
    public Http2ErrorCode? GoAway { get; private set; }

    /// <summary>The victim answered a PING that was sent behind the whole attack: it bore all of it.</summary>
    public bool Borne { get; private set; }

    /// <summary>Frames that the victim sent.</summary>
    public int Frames { get; private set; }

    /// <summary>Octets that the attacker could send.</summary>
    public long Sent { get; set; }

    public int Resets(Http2ErrorCode code) => _resets.GetValueOrDefault(code);

    /// <summary>Notes a frame; true when it is the last that matters.</summary>
    public bool IsOver(Frame frame)
    {
        Frames++;
        switch (frame.Type)
        {
            case FrameType.GoAway:
                GoAway = frame.Code;
                return true;
            case FrameType.RstStream:
                _resets[frame.Code] = Resets(frame.Code) + 1;
                return false;
            case FrameType.Ping when frame.Header.Has(FrameFlags.Ack) && frame.Payload.AsSpan().SequenceEqual(RawPeer.LastPing):
                Borne = true;
                return true;
            default:
                return false;
        }
    }

    public override string ToString() =>
        $"{(Borne ? "borne" : $"GOAWAY {GoAway?.ToString() ?? "none"}")}, {Sent} octets sent, {Frames} frames received, resets {string.Join(", ", _resets.Select(reset => $"{reset.Value} {reset.Key}"))}";
}

/// <summary>A peer with a valid certificate that writes whatever octets it likes: TCP, TLS, and then no rules.</summary>
internal sealed class RawPeer : IAsyncDisposable
{
    private readonly Socket _socket;
    private readonly SslStream _tls;

    private RawPeer(Socket socket)
    {
        _socket = socket;
        _tls = new SslStream(new NetworkStream(socket, ownsSocket: true));
    }

    public static byte[] LastPing { get; } = "the last"u8.ToArray();

    /// <summary>As far as TLS: not an octet of HTTP/2.</summary>
    public static async Task<RawPeer> ConnectAsync(IPEndPoint server, WorkloadCertificate certificate, TrustBundle trust, SpiffeId expected)
    {
        var socket = new Socket(server.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(server).InTime();
        var peer = new RawPeer(socket);
        await peer._tls.AuthenticateAsClientAsync(SpiffeTls.ClientOptions(certificate, trust, [expected], new PeerVerification(), TimeProvider.System)).InTime();
        return peer;
    }

    /// <summary>The accepting side.</summary>
    public static async Task<RawPeer> AcceptAsync(Socket accepted, WorkloadCertificate certificate, TrustBundle trust)
    {
        var peer = new RawPeer(accepted);
        await peer._tls.AuthenticateAsServerAsync(SpiffeTls.ServerOptions(certificate, trust, new PeerVerification(), TimeProvider.System)).InTime();
        return peer;
    }

    public Task WriteAsync(params byte[] octets) => _tls.WriteAsync(octets).InTime();

    /// <summary>Reads so many octets, such as the preface.</summary>
    public async Task<byte[]> ReadExactlyAsync(int count)
    {
        var octets = new byte[count];
        await _tls.ReadExactlyAsync(octets).InTime();
        return octets;
    }

    /// <summary>The next frame; null when the connection has ended.</summary>
    public async Task<Frame?> NextAsync()
    {
        try
        {
            var header = FrameHeader.Read(await ReadExactlyAsync(FrameHeader.Size));
            return new Frame(header, await ReadExactlyAsync(header.Length));
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>Reads until there is such a frame.</summary>
    public async Task<Frame> ExpectAsync(Predicate<Frame> match)
    {
        while (true)
        {
            var frame = await NextAsync() ?? throw new IOException("the connection has ended");
            if (match(frame))
            {
                return frame;
            }
        }
    }

    /// <summary>The end of the connection, however it comes.</summary>
    public async Task ExpectEndAsync()
    {
        while (await NextAsync() is not null)
        {
            // What is still on its way.
        }
    }

    /// <summary>What was sent so far has been read by the other side.</summary>
    public async Task PingPongAsync()
    {
        var opaque = Guid.NewGuid().ToByteArray()[..8];
        await WriteAsync(Frame.Of(FrameType.Ping, FrameFlags.None, 0, opaque));
        await ExpectAsync(frame => frame.Type is FrameType.Ping && frame.Payload.AsSpan().SequenceEqual(opaque));
    }

    /// <summary>Sends all of it, or as much as the victim takes, and tells how it ended.</summary>
    /// <param name="waves">What to send, one write for each.</param>
    /// <param name="reads">Whether the attacker reads what the victim sends.</param>
    public async Task<Outcome> AttackAsync(IEnumerable<byte[]> waves, bool reads = true)
    {
        var outcome = new Outcome();
        var reading = reads ? ReadAsync(outcome) : Task.CompletedTask;
        var cut = false;
        try
        {
            foreach (var wave in waves)
            {
                if (reads && reading.IsCompleted)
                {
                    break;
                }

                await WriteAsync(wave);
                outcome.Sent += wave.Length;
            }

            await WriteAsync(Frame.Of(FrameType.Ping, FrameFlags.None, 0, LastPing));
        }
        catch (IOException)
        {
            cut = true;
        }

        if (!reads && !cut)
        {
            reading = ReadAsync(outcome);
        }

        await reading.InTime();
        return outcome;
    }

    /// <summary>Ends without a word, as a process that was killed.</summary>
    public ValueTask DisposeAsync()
    {
        _socket.Close(timeout: 0);
        return _tls.DisposeAsync();
    }

    private async Task ReadAsync(Outcome outcome)
    {
        while (await NextAsync() is { } frame && !outcome.IsOver(frame))
        {
            // On to the next.
        }
    }
}
