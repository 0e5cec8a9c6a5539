using Mesh.Core.Workloads;
using Mesh.Testing;
using static Mesh.Testing.TestMesh;

namespace Mesh.Ztunnel.Outbound;

/// <summary>Limits on connections and endpoints left out, which services ask of their clients by <c>x-trafficPolicy</c>.</summary>
public sealed class TrafficManagerTests
{
    private static readonly Workload Second = Workload("second", "10.0.0.3", CartKey);
    private readonly FakeTimeProvider _time = new();
    private readonly TrafficManager _traffic;

    public TrafficManagerTests() => _traffic = new TrafficManager(_time);

    [Fact]
    public void A_service_that_asks_for_nothing_is_not_limited()
    {
        Assert.Null(_traffic.Admit(CartService));
        Assert.Null(_traffic.Admit(null));
        Assert.False(_traffic.Failed(Of(Cart, CartService), CartService, Cart));
        Assert.Null(_traffic.Excluded(null));
    }

    [Fact]
    public void Connections_beyond_the_limit_are_refused_until_one_ends()
    {
        var service = With(new L4TrafficPolicy { MaxConnections = 2 });
        using var first = _traffic.Admit(service);
        var second = _traffic.Admit(service)!;
        var error = Assert.Throws<LimitReachedException>(() => _traffic.Admit(service));
        Assert.Equal($"service shop/{CartHost} may have 2 connections from here at once, and has them", error.Message);
        second.Dispose();
        _traffic.Admit(service)!.Dispose();
    }

    [Fact]
    public void New_connections_beyond_the_rate_are_refused_until_time_has_passed()
    {
        var service = With(new L4TrafficPolicy { ConnectionsPerSecond = 2 });
        _traffic.Admit(service);
        _traffic.Admit(service);
        Assert.Throws<LimitReachedException>(() => _traffic.Admit(service));
        _time.Advance(TimeSpan.FromMilliseconds(500));
        _traffic.Admit(service);
        Assert.Throws<LimitReachedException>(() => _traffic.Admit(service));
    }

    [Fact]
    public void An_endpoint_that_fails_too_often_in_a_row_is_left_out_each_time_for_longer()
    {
        var mesh = Of(Cart, Second, CartService);
        var service = With(new L4TrafficPolicy { OutlierDetection = new OutlierDetection(2, TimeSpan.FromSeconds(10), 50) });
        Assert.False(_traffic.Failed(mesh, service, Cart));
        Assert.True(_traffic.Failed(mesh, service, Cart));
        Assert.Contains("connecting to it failed 2 times in a row", _traffic.Excluded(null)?.Invoke(CartService, Cart), StringComparison.Ordinal);
        Assert.Null(_traffic.Excluded(null)?.Invoke(CartService, Second));

        // Tried again after its time, and left out for twice as long when that fails.
        _time.Advance(TimeSpan.FromSeconds(10));
        Assert.Null(_traffic.Excluded(null)?.Invoke(CartService, Cart));
        Assert.True(_traffic.Failed(mesh, service, Cart));
        _time.Advance(TimeSpan.FromSeconds(19));
        Assert.NotNull(_traffic.Excluded(null)?.Invoke(CartService, Cart));
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Null(_traffic.Excluded(null)?.Invoke(CartService, Cart));
    }

    [Fact]
    public void What_one_service_leaves_out_another_does_not_and_neither_does_it_concern_waypoints()
    {
        var mesh = Of(Cart, Second, Waypoint, CartService);
        var service = With(new L4TrafficPolicy { OutlierDetection = new OutlierDetection(1, TimeSpan.FromSeconds(10), 50) });
        Assert.False(_traffic.Failed(mesh, service, Waypoint));
        Assert.True(_traffic.Failed(mesh, service, Cart));
        Assert.Null(_traffic.Excluded(null)!(Service("other", "10.96.0.7"), Cart));
    }

    [Fact]
    public void A_success_makes_up_for_all_failures()
    {
        var mesh = Of(Cart, Second, CartService);
        var service = With(new L4TrafficPolicy { OutlierDetection = new OutlierDetection(2, TimeSpan.FromSeconds(10), 50) });
        _traffic.Failed(mesh, service, Cart);
        _traffic.Succeeded(service, Cart);
        Assert.False(_traffic.Failed(mesh, service, Cart));
    }

    [Fact]
    public void Not_more_endpoints_are_left_out_than_the_policy_allows_but_one_always_may()
    {
        var mesh = Of(Cart, Second, CartService);
        var service = With(new L4TrafficPolicy { OutlierDetection = new OutlierDetection(1, TimeSpan.FromSeconds(10), 0) });
        Assert.True(_traffic.Failed(mesh, service, Cart));
        Assert.False(_traffic.Failed(mesh, service, Second));
    }

    [Fact]
    public void What_was_tried_for_this_connection_is_not_tried_again() =>
        Assert.Equal("it was tried already", _traffic.Excluded(new HashSet<string> { Cart.Uid })!(CartService, Cart));

    private static Service With(L4TrafficPolicy policy) => CartService with { TrafficPolicy = policy };
}
