using Mesh.Core.Policy;
using Mesh.Ztunnel.Telemetry;

namespace Mesh.Ztunnel.Admin;

/// <summary>Connections in words, for people. What peers have said is bounded here; it is escaped where it is written.</summary>
internal static class ConnectionText
{
    private const int MaxLength = 200;

    /// <summary>Who talks: the identity proved, else the workload, else the address.</summary>
    public static string Source(ConnectionRecord record) => Bounded(
        record.SourceIdentity?.ToString() ?? (record.SourceWorkload is { } workload ? $"{workload.Namespace}/{workload.Name} (plain text)" : record.Source.Address.ToString()));

    /// <summary>To whom: the service, else the workload, else the address.</summary>
    public static string Destination(ConnectionRecord record) => Bounded(
        record.DestinationService?.Key.ToString()
        ?? (record.DestinationWorkload is { } workload ? $"{workload.Namespace}/{workload.Name}" : record.HboneAddress ?? (record.OriginalDestination ?? record.Destination)?.ToString() ?? "unknown"));

    /// <summary>Whether policy let it pass, as far as that is decided.</summary>
    public static string Verdict(ConnectionRecord record) =>
        record.Decision is L4Decision.Denied || record.Flag is ResponseFlag.Deny ? "denied"
        : record.Outcome is not ConnectionOutcome.Complete ? "failed"
        : record.Decision is L4Decision.Allowed || record.WasOpened ? "allowed"
        : "connecting";

    /// <summary>Why it was let pass or not.</summary>
    public static string Why(ConnectionRecord record) => Bounded(record.Error ?? record.Decision?.Reason ?? record.Why);

    /// <summary>A text cut to what a page can show.</summary>
    public static string Bounded(string? text)
    {
        if (text is null || text.Length <= MaxLength)
        {
            return text ?? "";
        }

        // Half of a pair is no text.
        return $"{text.AsSpan(0, char.IsHighSurrogate(text[MaxLength - 1]) ? MaxLength - 1 : MaxLength)}…";
    }
}
