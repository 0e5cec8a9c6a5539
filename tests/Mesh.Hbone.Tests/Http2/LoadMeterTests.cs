using Mesh.Testing;

namespace Mesh.Hbone.Http2;

public sealed class LoadMeterTests
{
    private const int Mebi = 1024 * 1024;
    private readonly FakeTimeProvider _time = new();
    private readonly LoadMeter _meter;

    public LoadMeterTests() => _meter = new LoadMeter(_time);

    [Fact]
    public void Sixteen_mebioctets_in_less_than_a_quarter_of_a_second_are_a_load()
    {
        _time.Advance(TimeSpan.FromMilliseconds(249));
        Assert.False(_meter.Count(15 * Mebi));
        Assert.True(_meter.Count(Mebi));
    }

    [Theory]
    [InlineData(250)]
    [InlineData(251)]
    [InlineData(10_000)]
    public void As_much_in_a_quarter_of_a_second_or_more_is_none(int milliseconds)
    {
        Assert.False(_meter.Count(15 * Mebi));
        _time.Advance(TimeSpan.FromMilliseconds(milliseconds));
        Assert.False(_meter.Count(Mebi));
    }

    [Fact]
    public void Small_operations_count_for_what_they_cost()
    {
        // Two thousand of an octet each, at eight kibioctets each.
        var operations = 1;
        while (!_meter.Count(1))
        {
            operations++;
            Assert.InRange(operations, 1, 10_000);
        }

        Assert.InRange(operations, 2_000, 2_048);
    }

    [Fact]
    public void It_is_told_once_for_each_span()
    {
        Assert.True(_meter.Count(16 * Mebi));
        Assert.False(_meter.Count(15 * Mebi));
        Assert.True(_meter.Count(Mebi));
    }

    [Fact]
    public void A_quiet_span_does_not_hide_the_load_of_the_next()
    {
        _time.Advance(TimeSpan.FromHours(1));
        Assert.False(_meter.Count(16 * Mebi));
        Assert.True(_meter.Count(16 * Mebi));
    }
}
