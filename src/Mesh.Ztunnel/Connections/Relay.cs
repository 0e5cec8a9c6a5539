using System.Net.Sockets;
using Mesh.Hbone;
using Mesh.Hbone.Http2;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Connections;

/// <summary>Runs a relay to its end and says in the record how it ended.</summary>
internal static class Relay
{
    /// <summary>Relays until both directions have ended, one has failed, or the connection must be closed.</summary>
    /// <param name="relay">The relay.</param>
    /// <param name="record">The record; gets outcome and error.</param>
    /// <param name="tracked">Says when the connection must be closed, and why.</param>
    /// <param name="abort">Ends both sides at once; called unless both directions have ended by themselves.</param>
    public static async Task RunAsync(Func<CancellationToken, Task> relay, ConnectionRecord record, TrackedConnection tracked, Action abort)
    {
        try
        {
            await relay(tracked.Closed);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            abort();
            if (tracked.CloseReason is { } reason)
            {
                record.Outcome = reason.Denial is null ? ConnectionOutcome.Failed : ConnectionOutcome.Denied;
                record.Decision = reason.Denial ?? record.Decision;
                record.Error = reason.Text;
            }
            else if (!IsOrdinary(e))
            {
                record.Outcome = ConnectionOutcome.Failed;
                record.Error = e.Message;
            }
        }
    }

    // An end that closes or resets its connection is in its right (ztunnel §2.8).
    private static bool IsOrdinary(Exception e) => e switch
    {
        HboneException hbone => hbone is { Error: HboneError.Aborted } or { Error: HboneError.Reset, Code: Http2ErrorCode.StreamClosed },
        { InnerException: SocketException socket } => socket.SocketErrorCode
            is SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown or SocketError.NotConnected or SocketError.OperationAborted,
        _ => true,
    };
}
