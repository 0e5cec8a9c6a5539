using Mesh.Testing;
using static Mesh.Ztunnel.Dns.DnsText;

namespace Mesh.Ztunnel.Dns;

public sealed class DnsCacheTests
{
    private static readonly DnsCacheKey Cart = new(Question("cart"), false);
    private readonly FakeTimeProvider _time = new();
    private readonly DnsCache _cache;

    public DnsCacheTests() => _cache = new DnsCache(2, _time);

    [Fact]
    public void An_answer_is_kept_as_long_as_its_shortest_record_and_counts_down()
    {
        _cache.Add(Cart, new DnsAnswer(DnsResponseCode.NoError) { Answers = [Address("cart", "10.0.0.1", 60), Address("cart", "10.0.0.2", 10)] });
        _time.Advance(TimeSpan.FromSeconds(9.5));
        Assert.True(_cache.TryGet(Cart, out var answer));
        Assert.Equal([51u, 1u], answer.Answers.Select(record => record.TimeToLive));
        _time.Advance(TimeSpan.FromSeconds(0.5));
        Assert.False(_cache.TryGet(Cart, out _));
        Assert.Equal(0, _cache.Count);
    }

    [Fact]
    public void The_case_of_the_name_does_not_matter_but_type_and_class_and_DO_do()
    {
        _cache.Add(Cart, Positive(60));
        Assert.True(_cache.TryGet(new DnsCacheKey(Question("CART"), false), out _));
        Assert.False(_cache.TryGet(Cart with { DnssecOk = true }, out _));
        Assert.False(_cache.TryGet(new DnsCacheKey(Question("cart", DnsRecordType.Aaaa), false), out _));
        Assert.False(_cache.TryGet(new DnsCacheKey(Question("cart") with { Class = 3 }, false), out _));
    }

    [Fact]
    public void What_was_used_longest_ago_makes_room()
    {
        _cache.Add(Cart, Positive(60));
        _cache.Add(new DnsCacheKey(Question("second"), false), Positive(60));
        Assert.True(_cache.TryGet(Cart, out _));
        _cache.Add(new DnsCacheKey(Question("third"), false), Positive(60));
        Assert.Equal(2, _cache.Count);
        Assert.True(_cache.TryGet(Cart, out _));
        Assert.False(_cache.TryGet(new DnsCacheKey(Question("second"), false), out _));
    }

    [Fact]
    public void A_newer_answer_goes_in_place_of_the_older()
    {
        _cache.Add(Cart, Positive(10));
        _cache.Add(Cart, Positive(60));
        _time.Advance(TimeSpan.FromSeconds(20));
        Assert.True(_cache.TryGet(Cart, out _));
        Assert.Equal(1, _cache.Count);
    }

    [Fact]
    public void A_cache_for_nothing_keeps_nothing()
    {
        var none = new DnsCache(0, _time);
        none.Add(Cart, Positive(60));
        Assert.Equal(0, none.Count);
    }

    [Fact]
    public void A_negative_answer_is_kept_as_long_as_its_SOA_says()
    {
        var negative = new DnsAnswer(DnsResponseCode.NxDomain) { Authority = [Soa("example", minimum: 20)] };
        Assert.Equal(20u, DnsCache.TimeToLive(Cart.Question, negative));
        Assert.Equal(20u, DnsCache.TimeToLive(Cart.Question, negative with { Code = DnsResponseCode.NoError }));
        Assert.Equal(5u, DnsCache.TimeToLive(Cart.Question, negative with { Authority = [Soa("example", minimum: 20, timeToLive: 5)] }));
        Assert.Equal(7u, DnsCache.TimeToLive(Cart.Question, negative with { Code = DnsResponseCode.NoError, Answers = [Alias("cart", "gone", 7)] }));
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, negative with { Authority = [] }));
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, new DnsAnswer(DnsResponseCode.NoError) { Answers = [Alias("cart", "gone")] }));
    }

    [Fact]
    public void What_is_incomplete_faulty_or_for_now_only_is_not_kept()
    {
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, Positive(60) with { Truncated = true }));
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, Positive(60) with { Code = DnsResponseCode.ServFail }));
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, Positive(60) with { Code = DnsResponseCode.Refused }));
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, Positive(0)));
        Assert.Equal(0u, DnsCache.TimeToLive(Cart.Question, Positive(0x80000000)));
        Assert.Equal(86_400u, DnsCache.TimeToLive(Cart.Question, Positive(0x7FFFFFFF)));
    }

    [Fact]
    public void What_is_large_is_not_kept()
    {
        _cache.Add(Cart, new DnsAnswer(DnsResponseCode.NoError) { Answers = [.. Enumerable.Range(0, 1000).Select(i => Address("cart", "10.0.0.1"))] });
        Assert.Equal(0, _cache.Count);
    }

    private static DnsAnswer Positive(uint timeToLive) => new(DnsResponseCode.NoError) { Answers = [Address("cart", "10.0.0.1", timeToLive)] };
}
