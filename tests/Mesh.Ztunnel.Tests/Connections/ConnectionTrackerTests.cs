using System.Net;
using Mesh.Core.Policy;
using Mesh.Core.Workloads;
using Mesh.Testing;
using Mesh.Ztunnel.Telemetry;
using static Mesh.Testing.TestMesh;

namespace Mesh.Ztunnel.Connections;

public sealed class ConnectionTrackerTests : IDisposable
{
    private static readonly L4Authorization DenyWeb = new()
    {
        Name = "no-web",
        Namespace = "shop",
        Scope = AuthorizationScope.Namespace,
        Action = AuthorizationAction.Deny,
        Rules = [new AuthorizationRule(new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Exact("cluster.local/ns/shop/sa/web")] }))],
    };

    private readonly MeshState _state = new();
    private readonly ConnectionTracker _tracker;

    public ConnectionTrackerTests() => _tracker = new ConnectionTracker(_state);

    public void Dispose() => _tracker.Dispose();

    [Fact]
    public async Task A_policy_closes_what_it_denies_and_nothing_else()
    {
        using var web = Track(Web);
        using var waypoint = Track(Waypoint);
        using var outbound = _tracker.Track(ConnectionDirection.Outbound);

        _state.Update(editor => editor.Upsert(DenyWeb));

        await Eventually.Until("the connection is closed", () => web.Closed.IsCancellationRequested);
        Assert.StartsWith("connection closed due to policy change: explicitly denied by: shop/no-web, rule 1", web.CloseReason!.Text, StringComparison.Ordinal);
        Assert.Equal("shop/no-web", web.CloseReason.Denial?.Policy);
        Assert.False(waypoint.Closed.IsCancellationRequested || outbound.Closed.IsCancellationRequested);
    }

    [Fact]
    public void A_change_of_workloads_evaluates_nobody_again()
    {
        using var web = Track(Web);
        _state.Update(editor => editor.Upsert(Cart));
        Assert.False(web.Closed.IsCancellationRequested);
    }

    [Fact]
    public async Task It_is_empty_when_the_last_connection_has_gone()
    {
        var first = Track(Web);
        var second = Track(Web);
        var empty = _tracker.WhenEmptyAsync();
        first.Dispose();
        Assert.False(empty.IsCompleted);
        second.Dispose();
        await empty.InTime();
        Assert.Equal(0, _tracker.Count);
    }

    [Fact]
    public void The_first_reason_to_close_counts()
    {
        using var connection = _tracker.Track(ConnectionDirection.Outbound);
        connection.Close(new CloseReason("first", ResponseFlag.Connect));
        connection.Close(new CloseReason("second", ResponseFlag.Deny));
        _tracker.CloseAll();
        Assert.Equal("first", connection.CloseReason!.Text);
    }

    private TrackedConnection Track(Workload source)
    {
        var connection = _tracker.Track(ConnectionDirection.Outbound);
        connection.ApplyPolicy(Cart, new L4Connection(source.Addresses[0], source.Identity, IPEndPoint.Parse("10.0.0.2:8080")));
        return connection;
    }
}
