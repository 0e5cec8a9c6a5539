using System.Net;
using Mesh.Core.Policy;
using Mesh.Testing;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Ztunnel.Admin;

/// <summary>What is remembered of connections, and that it has bounds.</summary>
public sealed class ConnectionHistoryTests : IDisposable
{
    private static readonly L4PolicySet OnlyWeb = L4PolicySet.Create(new L4Authorization
    {
        Name = "only-web",
        Namespace = "shop",
        Scope = AuthorizationScope.Namespace,
        Action = AuthorizationAction.Allow,
        Rules = [new AuthorizationRule(new AuthorizationClause(new AuthorizationMatch { Principals = [StringMatch.Exact("cluster.local/ns/shop/sa/web")] }))],
    });

    private readonly FakeTimeProvider _time = new();
    private readonly AccessLog _log;
    private readonly ConnectionHistory _history;

    public ConnectionHistoryTests()
    {
        _log = new AccessLog(NullLoggerFactory.Instance, _time);
        _history = new ConnectionHistory(_log, _time);
    }

    public void Dispose() => _history.Dispose();

    [Fact]
    public async Task An_allowed_connection_is_counted_once_when_it_opens()
    {
        await EndAsync(Inbound("web"), opened: true, record => Assert.Equal([new PolicyCount("shop/only-web", 1, 0)], _history.Policies));

        Assert.Equal([new PolicyCount("shop/only-web", 1, 0)], _history.Policies);
        Assert.Equal([new TrafficCount("spiffe://cluster.local/ns/shop/sa/web", "shop/cart.shop.svc.cluster.local", 1, 0, 0)], _history.Traffic);
        Assert.Empty(_history.Failed);
    }

    [Fact]
    public async Task A_denied_one_is_counted_and_remembered_with_its_time()
    {
        _time.Advance(TimeSpan.FromHours(1));
        await EndAsync(Inbound("thief"), opened: false, record => record.Fail(ConnectionOutcome.Denied, ResponseFlag.Deny, "denied"));

        Assert.Equal((0, 1), (_history.Policies.Single().Allowed, _history.Policies.Single().Denied));
        Assert.Equal((0, 1, 0), (_history.Traffic.Single().Allowed, _history.Traffic.Single().Denied, _history.Traffic.Single().Failed));
        Assert.Equal(_time.GetUtcNow(), _history.Failed.Single().At);
    }

    [Fact]
    public async Task One_that_a_change_of_policy_cuts_was_allowed_and_is_denied()
    {
        await EndAsync(Inbound("web"), opened: true, record =>
        {
            record.Decision = Decide("thief");
            record.Fail(ConnectionOutcome.Denied, ResponseFlag.Deny, "connection closed due to policy change");
        });

        Assert.Equal((1, 1, 0), (_history.Traffic.Single().Allowed, _history.Traffic.Single().Denied, _history.Traffic.Single().Failed));
        Assert.Equal(1, _history.Policies.Sum(count => count.Allowed));
        Assert.Equal(1, _history.Policies.Sum(count => count.Denied));
        Assert.Single(_history.Failed);
    }

    [Fact]
    public async Task One_that_fails_later_does_not_count_its_decision_twice()
    {
        await EndAsync(Inbound("web"), opened: true, record => record.Fail(ConnectionOutcome.Failed, ResponseFlag.Connect, "reset"));
        Assert.Equal([new PolicyCount("shop/only-web", 1, 0)], _history.Policies);
        Assert.Equal((1, 0, 1), (_history.Traffic.Single().Allowed, _history.Traffic.Single().Denied, _history.Traffic.Single().Failed));
    }

    [Fact]
    public async Task The_last_few_hundred_failures_are_kept_newest_first()
    {
        for (var i = 0; i < ConnectionHistory.MaxFailed + 7; i++)
        {
            await EndAsync(Inbound("thief"), opened: false, record => record.Fail(ConnectionOutcome.Failed, ResponseFlag.Connect, $"{i}"));
        }

        Assert.Equal(Enumerable.Range(7, ConnectionHistory.MaxFailed).Reverse().Select(i => $"{i}"), _history.Failed.Select(failed => failed.Record.Error));
    }

    [Fact]
    public async Task Pairs_beyond_the_bound_are_counted_together()
    {
        for (var i = 0; i < ConnectionHistory.MaxPairs + 10; i++)
        {
            await EndAsync(new ConnectionRecord { Direction = ConnectionDirection.Outbound, Source = new IPEndPoint(i, 1), Destination = IPEndPoint.Parse("10.0.0.1:80") }, opened: true);
        }

        Assert.Equal(ConnectionHistory.MaxPairs + 1, _history.Traffic.Count);
        Assert.Equal(10, _history.Traffic.Single(pair => pair.Source == "(others)").Allowed);
    }

    [Fact]
    public async Task What_a_peer_says_at_length_is_cut()
    {
        var record = new ConnectionRecord { Direction = ConnectionDirection.Inbound, Source = IPEndPoint.Parse("10.0.0.1:1"), HboneAddress = string.Concat(Enumerable.Repeat("x\U0001F600", 30_000)) };
        await EndAsync(record, opened: false, record => record.Fail(ConnectionOutcome.Rejected, ResponseFlag.Connect, "bad"));
        Assert.InRange(_history.Traffic.Single().Destination.Length, 190, 201);
        Assert.DoesNotContain('\ufffd', System.Text.Encoding.UTF8.GetString(System.Text.Encoding.UTF8.GetBytes(_history.Traffic.Single().Destination)));
    }

    private async Task EndAsync(ConnectionRecord record, bool opened, Action<ConnectionRecord>? before = null)
    {
        await using var recording = _log.Begin(record);
        if (opened)
        {
            _log.Opened(record);
        }

        before?.Invoke(record);
    }

    private static ConnectionRecord Inbound(string source) => new()
    {
        Direction = ConnectionDirection.Inbound,
        Source = IPEndPoint.Parse("10.0.0.1:40000"),
        SourceIdentity = TestMesh.Web.Identity.ToString().Replace("/web", $"/{source}", StringComparison.Ordinal) is var text ? Core.Identity.SpiffeId.Parse(text) : null,
        Destination = IPEndPoint.Parse("10.0.0.2:15008"),
        DestinationService = TestMesh.CartService,
        DestinationWorkload = TestMesh.Cart,
        Decision = Decide(source),
    };

    private static L4Decision Decide(string source) => L4Authorizer.Authorize(
        OnlyWeb, TestMesh.Cart, new L4Connection(IPAddress.Parse("10.0.0.1"), Core.Identity.SpiffeId.Parse($"spiffe://cluster.local/ns/shop/sa/{source}"), IPEndPoint.Parse("10.0.0.2:8080")));
}
