using Mesh.Hbone;
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
                record.Outcome = tracked.Denial is null ? ConnectionOutcome.Failed : ConnectionOutcome.Denied;
                record.Decision = tracked.Denial ?? record.Decision;
                record.Error = reason;
            }
            else if (e is HboneException { Error: not HboneError.Aborted })
            {
                record.Outcome = ConnectionOutcome.Failed;
                record.Error = e.Message;
            }

            // Anything else is an application that closed or reset its connection, which is its right (ztunnel §2.8).
        }
    }
}
