using System.Net.Sockets;
using Mesh.Hbone;
using Mesh.Hbone.Http2;
using Mesh.Ztunnel.Outbound;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Connections;

/// <summary>Runs a relay to its end and says in the record how it ended.</summary>
internal static class Relay
{
    /// <summary>Relays until both directions have ended, one has failed, or the connection must be closed.</summary>
    /// <param name="relay">The relay, with <see cref="TrackedConnection.Closed"/>.</param>
    /// <param name="record">The record; gets outcome and error.</param>
    /// <param name="tracked">Says when the connection must be closed, and why.</param>
    /// <returns>Whether both directions have ended by themselves; else both sides are to be ended at once.</returns>
    public static async Task<bool> RunAsync(Task relay, ConnectionRecord record, TrackedConnection tracked)
    {
        try
        {
            await relay;
            return true;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            if (tracked.CloseReason is not null || !IsOrdinary(e))
            {
                Fail(record, tracked, e);
            }

            return false;
        }
    }

    /// <summary>Says in the record why a connection failed: we had to close it, or something went wrong.</summary>
    public static void Fail(ConnectionRecord record, TrackedConnection tracked, Exception exception)
    {
        if (tracked.CloseReason is { } reason)
        {
            record.Decision = reason.Denial ?? record.Decision;
            record.Fail(reason.Denial is null ? ConnectionOutcome.Failed : ConnectionOutcome.Denied, reason.Flag, reason.Text);
            return;
        }

        record.Fail(exception);
        record.Outcome = exception is WorkloadUnknownException or RefusedException { IsRecursive: true } || record.Destination is null ? ConnectionOutcome.Rejected : ConnectionOutcome.Failed;
    }

    // An end that closes or resets its connection is in its right (ztunnel §2.8).
    private static bool IsOrdinary(Exception e) => e switch
    {
        HboneException hbone => hbone is { Error: HboneError.Aborted } or { Error: HboneError.Reset, Code: Http2ErrorCode.StreamClosed or Http2ErrorCode.ConnectError },
        { InnerException: SocketException socket } => socket.SocketErrorCode
            is SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown or SocketError.NotConnected or SocketError.OperationAborted,
        _ => true,
    };
}
