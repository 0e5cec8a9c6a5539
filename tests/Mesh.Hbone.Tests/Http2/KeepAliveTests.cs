using Mesh.Testing;
using static Mesh.Hbone.Http2.KeepAliveAction;

namespace Mesh.Hbone.Http2;

public sealed class KeepAliveTests
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(3);
    private readonly FakeTimeProvider _time = new();
    private readonly KeepAlive _keepAlive;

    public KeepAliveTests() => _keepAlive = new KeepAlive(Interval, Timeout, _time);

    [Fact]
    public void A_silent_peer_gets_one_ping_and_is_then_given_up_for_good()
    {
        Assert.Equal(SendPing, TickAfter(Interval));
        Assert.Equal(None, TickAfter(Timeout / 2));
        Assert.Equal(CloseConnection, TickAfter(Timeout / 2));
        _keepAlive.OnFrame();
        Assert.Equal(None, TickAfter(Interval));
        Assert.Equal(KeepAliveState.Dead, _keepAlive.State);
    }

    [Fact]
    public void Any_frame_answers_the_ping()
    {
        TickAfter(Interval);
        _keepAlive.OnFrame();

        Assert.Equal(None, TickAfter(Timeout));
        Assert.Equal(KeepAliveState.Quiet, _keepAlive.State);
    }

    [Fact]
    public void A_peer_that_speaks_gets_no_ping()
    {
        for (var i = 0; i < 10; i++)
        {
            _keepAlive.OnFrame();
            Assert.Equal(None, TickAfter(Interval));
        }

        Assert.Equal(None, TickAfter(Interval - TimeSpan.FromTicks(1)));
        Assert.Equal(SendPing, TickAfter(TimeSpan.FromTicks(1)));
    }

    private KeepAliveAction TickAfter(TimeSpan silence)
    {
        _time.Advance(silence);
        return _keepAlive.OnTick();
    }
}
