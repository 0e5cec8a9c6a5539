using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Ztunnel.Connections;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Inbound;

/// <summary>Asks policy of a connection to a workload, and goes on asking when policy changes.</summary>
internal sealed class InboundAuthorization(ProxyContext context)
{
    private readonly ILogger _logger = context.Loggers.CreateLogger<InboundAuthorization>();

    /// <summary>The permit; null when policy denies the connection, which the record then says.</summary>
    public L4Decision.Allowed? Authorize(ConnectionRecord record, TrackedConnection tracked, Workload local, L4Connection connection)
    {
        // First, so that no change of policy can come between.
        tracked.ApplyPolicy(local, connection);
        record.Decision = L4Authorizer.Authorize(context.State.Current.Policies, local, connection);
        var level = context.Options.PolicyInfoLogging ? LogLevel.Information : LogLevel.Debug;
        _logger.PolicyDecided(level, record.Decision.Reason, connection);
        foreach (var note in record.Decision.DryRun)
        {
            _logger.DryRun(level, note);
        }

        if (record.Decision is L4Decision.Allowed allowed)
        {
            return allowed;
        }

        record.Fail(ConnectionOutcome.Denied, ResponseFlag.Deny, $"connection closed due to policy rejection: {record.Decision.Reason}");
        return null;
    }
}
