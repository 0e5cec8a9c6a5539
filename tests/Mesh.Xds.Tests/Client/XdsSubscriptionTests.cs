using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Mesh.Testing;
using Mesh.Xds.Protos;
using Microsoft.Extensions.Logging.Abstractions;

namespace Mesh.Xds.Client;

/// <summary>What a subscription holds, asks and answers, message by message.</summary>
public sealed class XdsSubscriptionTests
{
    private const string TypeUrl = "type.googleapis.com/some.Thing";
    private static readonly Node Node = new() { Id = "n" };

    private readonly FakeTimeProvider _time = new();
    private readonly Things _things = new();
    private int _nonce;

    [Fact]
    public void A_removal_that_could_not_be_applied_is_asked_for_again()
    {
        var subscription = Opened();
        subscription.Answer(Named(["a", "b"]));
        _things.Fault = "the disk is full";
        Assert.Contains("the disk is full", subscription.Answer(Message([], "a", "never-held")).ErrorDetail.Message);
        Assert.Equal(2, subscription.Count);

        // The server computes what is gone from what we name.
        var opening = Reopen(subscription);
        Assert.Equal([("a", ""), ("b", "v1")], Versions(opening));
        _things.Fault = null;
        Assert.Null(subscription.Answer(Message([], "a")).ErrorDetail);
        Assert.Equal(["b"], _things.Held);
        Assert.Equal([("b", "v1")], Versions(Reopen(subscription)));
    }

    [Fact]
    public async Task On_demand_a_removal_that_could_not_be_applied_leaves_its_names_found()
    {
        var subscription = Opened(XdsSubscriptionMode.OnDemand);
        var asked = subscription.DemandAsync("alias");
        subscription.Answer(Message([Thing("a", "alias")]));
        Assert.Equal(XdsDemand.Found, await asked);
        _things.Fault = "no";
        subscription.Answer(Message([], "a"));
        Assert.Equal(XdsDemand.Found, await subscription.DemandAsync("alias"));
        _things.Fault = null;
        subscription.Answer(Message([], "a"));
        Assert.Equal(XdsDemand.Absent, await subscription.DemandAsync("alias"));
    }

    [Fact]
    public void Of_many_faults_the_first_are_named_and_the_others_counted()
    {
        var subscription = Opened();
        var message = Message([]);
        message.Resources.Add(Enumerable.Range(0, 100_000).Select(i => new Resource { Name = $"bad-{i}" }));
        var detail = subscription.Answer(message).ErrorDetail.Message;
        Assert.StartsWith("bad-0: it has no content; bad-1: it has no content; ", detail);
        Assert.EndsWith("bad-99: it has no content; and 99900 more", detail);
        Assert.Equal(detail, subscription.LastRefusal);
    }

    [Fact]
    public void Many_resources_that_another_thing_stands_in_for_come_once_each()
    {
        var subscription = Opened(standIn: (_, fault) => fault);
        var message = Message([]);
        message.Resources.Add(Enumerable.Range(0, 100_000).Select(i => new Resource { Name = $"bad-{i % 50_000}" }));
        Assert.Null(subscription.Answer(message).ErrorDetail);
        Assert.Equal(50_000, _things.Applied);
    }

    [Fact]
    public void The_fault_of_a_handler_is_told_whatever_else_there_is()
    {
        var subscription = Opened();
        _things.Fault = "the disk is full";
        var message = Message([]);
        message.Resources.Add(Enumerable.Range(0, 200).Select(i => new Resource { Name = $"bad-{i}" }));
        Assert.StartsWith($"{TypeUrl}: the disk is full; bad-0: ", subscription.Answer(message).ErrorDetail.Message);
    }

    [Fact]
    public void What_a_server_writes_is_told_on_one_line_and_not_without_end()
    {
        var subscription = Opened();
        var message = Message([]);
        message.Resources.Add(new Resource { Name = "x\r\n\u001b[31mall is well\u202e" });
        message.Resources.Add(new Resource { Name = new string('y', 100_000) });
        var detail = subscription.Answer(message).ErrorDetail.Message;
        Assert.StartsWith("x\\u000D\\u000A\\u001B[31mall is well\\u202E: it has no content; yyy", detail);
        Assert.InRange(detail.Length, 500, 1000);
    }

    [Fact]
    public async Task A_name_that_moves_stays_found_when_the_one_that_had_it_goes()
    {
        var subscription = Opened(XdsSubscriptionMode.OnDemand);
        var asked = subscription.DemandAsync("x");
        subscription.Answer(Message([Thing("a", "x")]));
        Assert.Equal(XdsDemand.Found, await asked);

        // Both have it for a while, and the old one is sent once more.
        subscription.Answer(Message([Thing("b", "x")]));
        subscription.Answer(Message([Thing("a", "x")]));
        subscription.Answer(Message([], "a"));
        Assert.Equal(XdsDemand.Found, await subscription.DemandAsync("x"));
        subscription.Answer(Message([], "b"));
        Assert.Equal(XdsDemand.Absent, await subscription.DemandAsync("x"));
    }

    [Fact]
    public async Task A_name_that_moves_within_a_message_stays_found_in_any_order()
    {
        foreach (var names in (string[][])[["a", "b"], ["b", "a"]])
        {
            var subscription = Opened(XdsSubscriptionMode.OnDemand);
            var asked = subscription.DemandAsync("x");
            subscription.Answer(Message([Thing("a", "x")]));
            Assert.Equal(XdsDemand.Found, await asked);
            subscription.Answer(Message([.. names.Select(name => name == "b" ? Thing("b", "x") : Thing("a"))]));
            Assert.Equal(["x"], Reopen(subscription).ResourceNamesSubscribe.Except(["*"]));
            Assert.Equal(XdsDemand.Found, await subscription.DemandAsync("x"));
        }
    }

    [Fact]
    public async Task Whoever_waits_for_a_name_gets_what_took_it_and_not_that_nothing_is_called_so()
    {
        var subscription = Opened(XdsSubscriptionMode.OnDemand);
        var asked = subscription.DemandAsync("x");
        subscription.Answer(Message([Thing("a", "x")], "x"));
        Assert.Equal(XdsDemand.Found, await asked);

        // istiod says so of an alias whenever it pushes all.
        subscription.Answer(Message([], "x"));
        Assert.Equal(XdsDemand.Found, await subscription.DemandAsync("x"));
    }

    [Fact]
    public async Task A_name_that_nothing_answers_to_any_more_is_a_new_question()
    {
        var subscription = Opened(XdsSubscriptionMode.OnDemand);
        var asked = subscription.DemandAsync("x");
        Assert.Equal(["x"], subscription.NextRequest(Node)!.ResourceNamesSubscribe);
        subscription.Answer(Message([Thing("a", "x")]));
        Assert.Equal(XdsDemand.Found, await asked);
        subscription.Answer(Message([Thing("a")]));
        Assert.Equal(["x"], subscription.NextRequest(Node)!.ResourceNamesUnsubscribe);
        Assert.False(subscription.DemandAsync("x").AsTask().IsCompleted);
        Assert.Equal(["x"], subscription.NextRequest(Node)!.ResourceNamesSubscribe);
    }

    [Fact]
    public async Task A_new_question_takes_the_place_of_the_oldest_that_nobody_waits_for()
    {
        var subscription = Opened(XdsSubscriptionMode.OnDemand);
        var waiting = subscription.DemandAsync("waited-for").AsTask();
        using var noisy = new CancellationTokenSource();
        var given = Enumerable.Range(0, XdsDemands.MaxUnanswered - 1).Select(i => subscription.DemandAsync($"noise-{i}", noisy.Token).AsTask()).ToArray();
        subscription.NextRequest(Node);
        Assert.Equal(XdsDemand.Unanswered, await subscription.DemandAsync("too-many").InTime());

        await noisy.CancelAsync();
        await Task.WhenAll(given).ContinueWith(_ => { }, TaskScheduler.Default).InTime();
        var next = subscription.DemandAsync("next").AsTask();
        Assert.False(next.IsCompleted);
        Assert.StartsWith("noise-", Assert.Single(subscription.NextRequest(Node)!.ResourceNamesUnsubscribe));
        Assert.Equal(["next"], subscription.NextRequest(Node)!.ResourceNamesSubscribe);
        subscription.Answer(Named(["waited-for", "next"]));
        Assert.Equal([XdsDemand.Found, XdsDemand.Found], await Task.WhenAll(waiting, next).InTime());
    }

    [Fact]
    public async Task A_question_that_is_waited_for_again_is_not_given_up()
    {
        var subscription = Opened(XdsSubscriptionMode.OnDemand);
        var first = subscription.DemandAsync("first").AsTask();
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(XdsDemand.Unanswered, await first.InTime());
        var again = subscription.DemandAsync("first").AsTask();
        var others = Enumerable.Range(0, XdsDemands.MaxUnanswered - 1).Select(i => subscription.DemandAsync($"other-{i}").AsTask()).ToArray();
        Assert.Equal(XdsDemand.Unanswered, await subscription.DemandAsync("too-many").InTime());
        subscription.Answer(Named(["first"]));
        Assert.Equal(XdsDemand.Found, await again.InTime());
        Assert.All(others, other => Assert.False(other.IsCompleted));
    }

    [Fact]
    public void An_opening_that_was_small_is_not_what_was_too_much()
    {
        var subscription = Opened();
        subscription.Answer(Named(["a"]));
        Reopen(subscription);
        Assert.Equal([("a", "v1")], Versions(Reopen(subscription, wasExhausted: true)));
        subscription.Answer(Named(["b"]));
        Assert.Null(subscription.SettlesIn);
        Assert.Equal(["a", "b"], _things.Held);
    }

    [Fact]
    public void After_an_opening_that_was_too_much_nothing_is_let_go_until_the_server_has_been_quiet()
    {
        var subscription = Opened();
        var names = Enumerable.Range(0, 1000).Select(i => $"{i}-{new string('x', 1500)}").ToArray();
        subscription.Answer(Named(names));
        Assert.Equal(1000, Reopen(subscription).InitialResourceVersions.Count);
        Assert.Empty(Reopen(subscription, wasExhausted: true).InitialResourceVersions);
        Assert.Null(subscription.SettlesIn);

        // In pieces; one of them is bad, and there all the same.
        subscription.Answer(Named(names[..400]));
        _time.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(TimeSpan.FromSeconds(1), subscription.SettlesIn);
        var rest = Named(names[401..900]);
        rest.Resources.Add(new Resource { Name = names[400] });
        subscription.Answer(rest);
        Assert.Equal(1000, subscription.Count);
        _time.Advance(TimeSpan.FromSeconds(30));
        Assert.Equal(TimeSpan.Zero, subscription.SettlesIn);
        subscription.Settle();
        Assert.Equal(names[..900].Order(StringComparer.Ordinal), _things.Held);
        Assert.Equal(900, subscription.Count);
        Assert.Null(subscription.SettlesIn);
    }

    [Fact]
    public void A_stream_that_ends_before_it_has_settled_takes_nothing_away()
    {
        var subscription = Opened();
        var names = Enumerable.Range(0, 1000).Select(i => $"{i}-{new string('x', 1500)}").ToArray();
        subscription.Answer(Named(names));
        Reopen(subscription);
        Reopen(subscription, wasExhausted: true);
        subscription.Answer(Named(names[..1]));

        // Named again, so that the server says what is gone; and should that be too much again, there is another such stream.
        Assert.Equal(1000, Reopen(subscription).InitialResourceVersions.Count);
        Assert.Null(subscription.SettlesIn);
        Assert.Empty(Reopen(subscription, wasExhausted: true).InitialResourceVersions);
        Assert.Equal(1000, _things.Held.Count());
    }

    private XdsSubscription<string> Opened(XdsSubscriptionMode mode = XdsSubscriptionMode.Wildcard, Func<string, string, string>? standIn = null)
    {
        var type = new XdsResourceType<string>(TypeUrl, (_, octets) => Convert.ToHexString(octets.Span)) { Unreadable = standIn };
        var subscription = new XdsSubscription<string>(type, mode, _things, () => { }, TimeSpan.FromSeconds(5), _time, NullLogger.Instance);
        Reopen(subscription);
        return subscription;
    }

    private static DeltaDiscoveryRequest Reopen(XdsSubscription<string> subscription, bool wasExhausted = false)
    {
        subscription.Restart(wasExhausted);
        return subscription.NextRequest(Node)!;
    }

    private static IEnumerable<(string, string)> Versions(DeltaDiscoveryRequest opening) =>
        opening.InitialResourceVersions.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => (pair.Key, pair.Value));

    private static Resource Thing(string name, params string[] aliases) =>
        new() { Name = name, Version = "v1", Aliases = { aliases }, Resource_ = new Any { TypeUrl = TypeUrl, Value = ByteString.CopyFrom(1) } };

    private DeltaDiscoveryResponse Named(string[] names, params string[] removed) => Message([.. names.Select(name => Thing(name))], removed);

    private DeltaDiscoveryResponse Message(Resource[] resources, params string[] removed) =>
        new() { TypeUrl = TypeUrl, Nonce = $"n{++_nonce}", Resources = { resources }, RemovedResources = { removed } };

    private sealed class Things : IXdsHandler<string>
    {
        private readonly HashSet<string> _held = [];

        public string? Fault { get; set; }

        public int Applied { get; private set; }

        public IEnumerable<string> Held => _held.Order(StringComparer.Ordinal);

        public void Apply(XdsUpdate<string> update)
        {
            if (Fault is not null)
            {
                throw new InvalidOperationException(Fault);
            }

            _held.ExceptWith(update.Removed);
            _held.UnionWith(update.Changed.Select(resource => resource.Name));
            Applied += update.Changed.Length;
        }
    }
}
