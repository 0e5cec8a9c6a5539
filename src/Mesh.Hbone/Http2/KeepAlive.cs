using System.Diagnostics;
using static Mesh.Hbone.Http2.KeepAliveAction;
using static Mesh.Hbone.Http2.KeepAliveEvent;
using static Mesh.Hbone.Http2.KeepAliveState;

namespace Mesh.Hbone.Http2;

internal enum KeepAliveState
{
    Quiet,
    AwaitingAck,
    Dead,
}

internal enum KeepAliveEvent
{
    Heard,
    Overdue,
}

internal enum KeepAliveAction
{
    None,
    SendPing,
    CloseConnection,
}

/// <summary>Decides when a silent peer gets a PING (RFC 9113, section 6.7) and when it is given up.</summary>
/// <remarks>Pure: the connection calls it at every tick and does what it answers. <see cref="OnFrame"/> may run beside <see cref="OnTick"/>.</remarks>
/// <param name="interval">Silence after which the peer gets a PING.</param>
/// <param name="timeout">Time the peer then has to send a frame, any frame.</param>
/// <param name="time">The clock.</param>
internal sealed class KeepAlive(TimeSpan interval, TimeSpan timeout, TimeProvider time)
{
    private long _since = time.GetTimestamp();
    private volatile bool _heard;

    public KeepAliveState State { get; private set; } = Quiet;

    // Sets a flag and reads no clock: this runs for every read.
    public void OnFrame() => _heard = true;

    public KeepAliveAction OnTick()
    {
        var limit = State is Quiet ? interval : timeout;
        var heard = _heard;
        if (!heard && time.GetElapsedTime(_since) < limit)
        {
            return None;
        }

        (State, var action) = Next(State, heard ? Heard : Overdue);
        _heard = false;
        _since = time.GetTimestamp();
        return action;
    }

    private static (KeepAliveState State, KeepAliveAction Action) Next(KeepAliveState state, KeepAliveEvent e) => (state, e) switch
    {
        (Quiet, Heard) => (Quiet, None),
        (Quiet, Overdue) => (AwaitingAck, SendPing),
        (AwaitingAck, Heard) => (Quiet, None),
        (AwaitingAck, Overdue) => (Dead, CloseConnection),
        (Dead, _) => (Dead, None),
        _ => throw new UnreachableException($"{state}, {e}"),
    };
}
