using Mesh.Testing;

namespace Mesh.Hbone.Http2;

public sealed class FloodBudgetTests
{
    private readonly FakeTimeProvider _time = new();
    private readonly FloodBudget _budget;

    public FloodBudgetTests() => _budget = new FloodBudget(_time);

    [Fact]
    public void A_thousand_idle_frames_at_once_are_borne_and_no_more()
    {
        Assert.Equal(1_000, ChargeUntilExhausted());
        Assert.Equal(0, ChargeUntilExhausted());
    }

    [Fact]
    public void Time_fills_it_again_but_not_beyond_what_it_holds()
    {
        ChargeUntilExhausted();
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(200, ChargeUntilExhausted());

        _time.Advance(TimeSpan.FromDays(1));
        Assert.Equal(1_000, ChargeUntilExhausted());
    }

    [Fact]
    public void Data_pays_for_the_frames_that_go_with_it()
    {
        ChargeUntilExhausted();
        _budget.Fund(5 * 1024 * 10);
        Assert.Equal(10, ChargeUntilExhausted());
    }

    private int ChargeUntilExhausted()
    {
        for (var count = 0; count < 100_000; count++)
        {
            try
            {
                _budget.Charge(FloodBudget.IdleFrame, "PING");
            }
            catch (Http2ConnectionException e)
            {
                Assert.Equal(Http2ErrorCode.EnhanceYourCalm, e.Code);
                return count;
            }
        }

        throw new InvalidOperationException("it is never exhausted");
    }
}
