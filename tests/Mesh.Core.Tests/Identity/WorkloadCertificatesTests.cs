using System.Threading.Channels;
using Mesh.Testing;

namespace Mesh.Core.Identity;

public sealed class WorkloadCertificatesTests : IAsyncDisposable
{
    private static readonly SpiffeId Web = Id("web");
    private static readonly TimeSpan UntilRenewal = TimeSpan.FromMinutes(29.5);
    private static readonly TimeSpan UntilExpiry = TimeSpan.FromHours(1);

    private readonly FakeTimeProvider _time = new();
    private readonly ScriptedAuthority _authority;
    private readonly Channel<WorkloadCertificateStatus> _changes = Channel.CreateUnbounded<WorkloadCertificateStatus>();
    private WorkloadCertificates _certificates;

    public WorkloadCertificatesTests()
    {
        _authority = new ScriptedAuthority(_time);
        _certificates = Make(new WorkloadCertificatesOptions());
    }

    public async ValueTask DisposeAsync()
    {
        await _certificates.DisposeAsync();
        _authority.Dispose();
    }

    [Fact]
    public async Task All_who_ask_share_one_request_and_its_certificate()
    {
        var waits = Enumerable.Range(0, 100).Select(_ => GetAsync(Web)).ToList();
        (await _authority.NextAsync()).Grant();

        Assert.Single((await Task.WhenAll(waits).InTime()).Distinct());
        Assert.Equal(1, _authority.Count);
    }

    [Fact]
    public async Task A_certificate_that_is_here_is_returned_at_once()
    {
        var first = await GrantedAsync(Web);
        var second = GetAsync(Web);

        Assert.True(second.IsCompletedSuccessfully);
        Assert.Same(first, await second);
    }

    [Fact]
    public async Task Identities_have_certificates_of_their_own()
    {
        await GrantedAsync(Web);
        Assert.Equal(Id("cart"), (await GrantedAsync(Id("cart"))).Identity);
    }

    [Fact]
    public async Task Many_who_ask_for_many_cause_one_request_each()
    {
        var waits = Enumerable.Range(0, 800).Select(number => GetAsync(Id($"w{number % 100}"))).ToList();
        for (var i = 0; i < 100; i++)
        {
            (await _authority.NextAsync()).Grant();
        }

        await Task.WhenAll(waits).InTime();
        Assert.Equal((100, 100), (_authority.Count, _certificates.Status.Count));
    }

    [Fact]
    public async Task A_renewal_is_due_at_half_of_the_lifetime()
    {
        await GrantedAsync(Web);
        Assert.Equal(_time.GetUtcNow() + UntilRenewal, Assert.Single(_certificates.Status).NextRequestAt);
    }

    [Fact]
    public async Task A_short_certificate_that_is_dated_back_is_not_renewed_without_end()
    {
        using var root = TestCertificates.Root();
        var now = _time.GetUtcNow();
        var waiting = GetAsync(Web);
        (await _authority.NextAsync()).Grant(new WorkloadCertificate(TestCertificates.Leaf(root, new TestLeaf { Uris = [Web.ToString()], NotBefore = now.AddMinutes(-2), NotAfter = now.AddMinutes(1) })));
        await waiting.InTime();

        Assert.Equal(now.AddSeconds(30), Assert.Single(_certificates.Status).NextRequestAt);
    }

    [Fact]
    public async Task A_renewed_certificate_takes_the_place_of_the_old_one()
    {
        var old = await GrantedAsync(Web);
        _time.Advance(UntilRenewal);
        (await _authority.NextAsync()).Grant();
        await ChangeAsync();

        Assert.True((await GetAsync(Web).InTime()).NotAfter > old.NotAfter);
    }

    [Fact]
    public async Task A_renewal_that_brings_the_same_certificate_changes_nothing_and_comes_again_after_the_waits_of_a_failure()
    {
        var old = await GrantedAsync(Web);
        _time.Advance(UntilRenewal);
        foreach (var wait in new[] { 1, 2, 4 })
        {
            (await _authority.NextAsync()).GrantAgain(old);
            await Eventually.Until("the wait is set", () => _certificates.Status[0].NextRequestAt == _time.GetUtcNow() + TimeSpan.FromSeconds(wait));
            Assert.Same(old, await GetAsync(Web).InTime());
            _time.Advance(TimeSpan.FromSeconds(wait));
        }

        (await _authority.NextAsync()).Grant();
        Assert.NotSame(old, (await ChangeAsync()).Certificate);
        Assert.Equal(_time.GetUtcNow() + UntilRenewal, _certificates.Status[0].NextRequestAt);
    }

    [Fact]
    public async Task The_old_certificate_serves_while_its_renewal_is_on_its_way()
    {
        var old = await GrantedAsync(Web);
        _time.Advance(UntilRenewal);
        await _authority.NextAsync();

        Assert.Same(old, await GetAsync(Web).InTime());
    }

    [Fact]
    public async Task The_old_certificate_serves_when_its_renewal_failed()
    {
        var old = await GrantedAsync(Web);
        await FailRenewalAsync();

        Assert.Same(old, await GetAsync(Web).InTime());
    }

    [Fact]
    public async Task A_failed_renewal_is_shown_beside_the_old_certificate()
    {
        var old = await GrantedAsync(Web);
        var status = await FailRenewalAsync();

        Assert.Equal((old, "closed for lunch"), (status.Certificate, status.Error));
    }

    [Fact]
    public async Task A_certificate_that_has_expired_serves_no_more()
    {
        await GrantedAsync(Web);
        _authority.Outage = new CertificateAuthorityException("unreachable");
        _time.Advance(UntilExpiry + TimeSpan.FromSeconds(1));

        Assert.False(_certificates.TryGet(Web, out _));
        await Assert.ThrowsAsync<CertificateAuthorityException>(() => GetAsync(Web).InTime());
    }

    [Fact]
    public async Task The_next_attempt_is_not_later_than_the_expiry_of_the_old_certificate()
    {
        await RestartAsync(new WorkloadCertificatesOptions { InitialBackoff = TimeSpan.FromHours(1), MaxBackoff = TimeSpan.FromHours(1) });
        var old = await GrantedAsync(Web);

        Assert.Equal(old.NotAfter, (await FailRenewalAsync()).NextRequestAt);
    }

    [Fact]
    public async Task The_most_urgent_is_asked_for_first()
    {
        await RestartAsync(new WorkloadCertificatesOptions { MaxConcurrentRequests = 1 });
        _ = GetAsync(Web);
        var running = await _authority.NextAsync();
        _ = GetAsync(Id("background"), CertificatePriority.Background);
        _ = GetAsync(Id("warmup"), CertificatePriority.Warmup);
        _ = GetAsync(Id("realtime"));

        Assert.Equal(["realtime", "warmup", "background"], await NamesAfterAsync(running, 3));
    }

    [Fact]
    public async Task Of_the_equally_urgent_the_one_due_first_is_asked_for_first()
    {
        await RestartAsync(new WorkloadCertificatesOptions { MaxConcurrentRequests = 1 });
        _ = GetAsync(Web);
        var running = await _authority.NextAsync();
        foreach (var name in new[] { "c", "a", "b" })
        {
            _ = GetAsync(Id(name));
            _time.Advance(TimeSpan.FromMilliseconds(1));
        }

        Assert.Equal(["c", "a", "b"], await NamesAfterAsync(running, 3));
    }

    [Fact]
    public async Task A_more_urgent_caller_moves_a_queued_identity_ahead()
    {
        await RestartAsync(new WorkloadCertificatesOptions { MaxConcurrentRequests = 1 });
        _ = GetAsync(Web);
        var running = await _authority.NextAsync();
        _ = GetAsync(Id("warmup"), CertificatePriority.Warmup);
        _ = GetAsync(Id("upgraded"), CertificatePriority.Background);
        _ = GetAsync(Id("upgraded"));

        Assert.Equal(["upgraded", "warmup"], await NamesAfterAsync(running, 2));
    }

    [Fact]
    public async Task A_less_urgent_caller_does_not_move_a_queued_identity_back()
    {
        await RestartAsync(new WorkloadCertificatesOptions { MaxConcurrentRequests = 1 });
        _ = GetAsync(Web);
        var running = await _authority.NextAsync();
        _ = GetAsync(Id("warmup"), CertificatePriority.Warmup);
        _ = GetAsync(Id("urgent"));
        _ = GetAsync(Id("urgent"), CertificatePriority.Background);

        Assert.Equal(["urgent", "warmup"], await NamesAfterAsync(running, 2));
    }

    [Fact]
    public async Task No_more_requests_run_at_once_than_allowed()
    {
        await RestartAsync(new WorkloadCertificatesOptions { MaxConcurrentRequests = 4 });
        var waits = Enumerable.Range(0, 12).Select(number => GetAsync(Id($"w{number}"))).ToList();
        var running = new Queue<ScriptedAuthority.Request>();
        for (var i = 0; i < 4; i++)
        {
            running.Enqueue(await _authority.NextAsync());
        }

        // From here on a request begins only when another one has ended.
        for (var ended = 1; ended <= 8; ended++)
        {
            Assert.Equal(3 + ended, _authority.Count);
            running.Dequeue().Grant();
            running.Enqueue(await _authority.NextAsync());
        }

        foreach (var request in running)
        {
            request.Grant();
        }

        await Task.WhenAll(waits).InTime();
    }

    [Fact]
    public async Task Who_waits_gets_the_error_of_a_failed_request_at_once()
    {
        var wait = GetAsync(Web);
        (await _authority.NextAsync()).Refuse("no such workload");

        Assert.Equal("no such workload", (await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime())).Message);
    }

    [Fact]
    public async Task Whatever_an_authority_throws_reaches_the_caller_as_its_failure()
    {
        _authority.Outage = new InvalidOperationException("boom");
        var error = await Assert.ThrowsAsync<CertificateAuthorityException>(() => GetAsync(Web).InTime());

        Assert.Equal(($"no certificate for {Web}: boom", _authority.Outage), (error.Message, error.InnerException));
    }

    [Fact]
    public async Task Later_callers_get_the_same_error_without_a_request_until_the_next_attempt()
    {
        await RefusedAsync(Web);

        Assert.Equal("refused", (await Assert.ThrowsAsync<CertificateAuthorityException>(() => GetAsync(Web).InTime())).Message);
        Assert.Equal(1, _authority.Count);
    }

    [Fact]
    public async Task The_next_attempt_comes_without_being_asked_for()
    {
        var status = await RefusedAsync(Web);
        _time.Advance(status.NextRequestAt - _time.GetUtcNow());
        (await _authority.NextAsync()).Grant();
        await ChangeAsync();

        Assert.True(_certificates.TryGet(Web, out _));
    }

    [Theory]
    [InlineData(0.0, 0.8)]
    [InlineData(0.5, 1.0)]
    [InlineData(0.999999, 1.2)]
    public async Task The_first_wait_after_a_failure_is_about_a_second(double dice, double seconds)
    {
        await RestartAsync(new WorkloadCertificatesOptions(), dice);
        var status = await RefusedAsync(Web);

        Assert.Equal(seconds, (status.NextRequestAt - _time.GetUtcNow()).TotalSeconds, tolerance: 0.001);
    }

    [Fact]
    public async Task The_wait_doubles_up_to_its_limit()
    {
        await RestartAsync(new WorkloadCertificatesOptions(), dice: 0.5);
        var waits = new List<double>();
        var status = await RefusedAsync(Web);
        while (waits.Count < 10)
        {
            var wait = status.NextRequestAt - _time.GetUtcNow();
            waits.Add(wait.TotalSeconds);
            _time.Advance(wait);
            (await _authority.NextAsync()).Refuse("refused");
            status = await ChangeAsync();
        }

        Assert.Equal([1, 2, 4, 8, 16, 32, 64, 128, 150, 150], waits);
    }

    [Fact]
    public async Task A_success_begins_the_waits_anew()
    {
        await RestartAsync(new WorkloadCertificatesOptions(), dice: 0.5);
        for (var i = 0; i < 3; i++)
        {
            var failed = i == 0 ? await RefusedAsync(Web) : await RefuseNextAsync();
            _time.Advance(failed.NextRequestAt - _time.GetUtcNow());
        }

        (await _authority.NextAsync()).Grant();
        await ChangeAsync();
        var status = await FailRenewalAsync();

        Assert.Equal(TimeSpan.FromSeconds(1), status.NextRequestAt - _time.GetUtcNow());
    }

    [Fact]
    public async Task A_request_that_is_not_answered_fails_after_its_time()
    {
        var wait = GetAsync(Web);
        await _authority.NextAsync();
        _time.Advance(TimeSpan.FromMinutes(1));

        Assert.Equal(
            $"the authority did not answer a request for {Web} within 00:01:00",
            (await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime())).Message);
    }

    [Fact]
    public async Task A_certificate_that_comes_too_late_is_disposed()
    {
        var wait = GetAsync(Web);
        var request = await _authority.NextAsync();
        _time.Advance(TimeSpan.FromMinutes(1));
        await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime());

        var late = _authority.Sign(Web);
        request.Grant(late);
        await Eventually.Until("its key is gone", () => late.Leaf.Handle == IntPtr.Zero);
    }

    [Fact]
    public async Task A_certificate_of_another_identity_is_an_error()
    {
        var wait = GetAsync(Web);
        (await _authority.NextAsync()).GrantAs(Id("mallory"));

        Assert.StartsWith(
            $"the authority answered a request for {Web} with a certificate of {Id("mallory")}",
            (await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime())).Message);
    }

    [Fact]
    public async Task A_caller_who_gives_up_is_told_so()
    {
        using var patience = new CancellationTokenSource();
        var wait = _certificates.GetAsync(Web, CertificatePriority.RealTime, patience.Token).AsTask();
        await patience.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => wait.InTime());
    }

    [Fact]
    public async Task A_caller_who_gives_up_leaves_the_request_to_the_others()
    {
        using var patience = new CancellationTokenSource();
        var impatient = _certificates.GetAsync(Web, CertificatePriority.RealTime, patience.Token).AsTask();
        var patient = GetAsync(Web);
        var request = await _authority.NextAsync();
        await patience.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => impatient.InTime());
        request.Grant();

        Assert.Equal(Web, (await patient.InTime()).Identity);
        Assert.Equal(1, _authority.Count);
    }

    [Fact]
    public async Task Who_waits_for_an_identity_that_is_forgotten_gets_an_error()
    {
        var wait = GetAsync(Web);
        await _authority.NextAsync();
        _certificates.Forget(Web);

        Assert.Equal($"the identity {Web} is no longer needed", (await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime())).Message);
    }

    [Fact]
    public async Task A_forgotten_identity_is_gone()
    {
        await GrantedAsync(Web);
        _certificates.Forget(Web);

        Assert.Empty(_certificates.Status);
        Assert.False(_certificates.TryGet(Web, out _));
    }

    [Fact]
    public async Task The_late_answer_for_a_forgotten_identity_does_not_bring_it_back()
    {
        var wait = GetAsync(Web);
        var request = await _authority.NextAsync();
        _certificates.Forget(Web);
        await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime());
        request.Grant();
        var granted = await request.Answered.InTime();
        await Eventually.Until("the certificate nobody wants is released", () => granted.Leaf.Handle == IntPtr.Zero);

        Assert.Empty(_certificates.Status);
    }

    [Fact]
    public void To_forget_what_is_not_known_is_harmless() => _certificates.Forget(Web);

    [Fact]
    public void To_look_asks_nobody()
    {
        Assert.False(_certificates.TryGet(Web, out _));
        Assert.Empty(_certificates.Status);
    }

    [Fact]
    public async Task Who_waits_when_the_cache_closes_gets_an_error()
    {
        var wait = GetAsync(Web);
        await _authority.NextAsync();
        await _certificates.DisposeAsync().InTime();

        Assert.Equal("the certificate cache is closed", (await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime())).Message);
    }

    [Fact]
    public async Task Closing_cancels_what_is_on_its_way()
    {
        _ = GetAsync(Web);
        var request = await _authority.NextAsync();
        await _certificates.DisposeAsync().InTime();

        Assert.True(request.Cancellation.IsCancellationRequested);
    }

    [Fact]
    public async Task Closing_releases_the_keys()
    {
        var certificate = await GrantedAsync(Web);
        await _certificates.DisposeAsync().InTime();

        Assert.Equal(IntPtr.Zero, certificate.Leaf.Handle);
    }

    [Fact]
    public async Task A_closed_cache_answers_nobody()
    {
        await _certificates.DisposeAsync().InTime();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => GetAsync(Web));
    }

    [Fact]
    public async Task Closing_twice_is_harmless()
    {
        await _certificates.DisposeAsync().InTime();
        await _certificates.DisposeAsync().InTime();
    }

    public static TheoryData<string, WorkloadCertificatesOptions> BadOptions => new()
    {
        { "MaxConcurrentRequests", new WorkloadCertificatesOptions { MaxConcurrentRequests = 0 } },
        { "RequestTimeout", new WorkloadCertificatesOptions { RequestTimeout = TimeSpan.Zero } },
        { "InitialBackoff", new WorkloadCertificatesOptions { InitialBackoff = TimeSpan.Zero } },
        { "MaxBackoff", new WorkloadCertificatesOptions { MaxBackoff = TimeSpan.FromMilliseconds(1) } },
        { "BackoffJitter", new WorkloadCertificatesOptions { BackoffJitter = -0.1 } },
        { "BackoffJitter", new WorkloadCertificatesOptions { BackoffJitter = 1.1 } },
    };

    [Theory]
    [MemberData(nameof(BadOptions))]
    public void An_option_out_of_its_range_is_named(string option, WorkloadCertificatesOptions options) => Assert.EndsWith(
        option, Assert.Throws<ArgumentOutOfRangeException>(() => new WorkloadCertificates(_authority, options, _time)).ParamName);

    private static SpiffeId Id(string serviceAccount) => SpiffeId.ForServiceAccount(TrustDomain.ClusterLocal, "shop", serviceAccount);

    private WorkloadCertificates Make(WorkloadCertificatesOptions options, double dice = 0.5)
    {
        var certificates = new WorkloadCertificates(_authority, options, _time, new LoadedDice(dice));
        certificates.Changed += (_, status) => _changes.Writer.TryWrite(status);
        return certificates;
    }

    private async Task RestartAsync(WorkloadCertificatesOptions options, double dice = 0.5)
    {
        await _certificates.DisposeAsync();
        _certificates = Make(options, dice);
    }

    private Task<WorkloadCertificate> GetAsync(SpiffeId identity, CertificatePriority priority = CertificatePriority.RealTime) =>
        _certificates.GetAsync(identity, priority).AsTask();

    private Task<WorkloadCertificateStatus> ChangeAsync() => _changes.Reader.ReadAsync().InTime();

    private async Task<WorkloadCertificate> GrantedAsync(SpiffeId identity)
    {
        var wait = GetAsync(identity);
        (await _authority.NextAsync()).Grant();
        await ChangeAsync();
        return await wait.InTime();
    }

    private async Task<WorkloadCertificateStatus> RefusedAsync(SpiffeId identity)
    {
        var wait = GetAsync(identity);
        var status = await RefuseNextAsync();
        await Assert.ThrowsAsync<CertificateAuthorityException>(() => wait.InTime());
        return status;
    }

    private async Task<WorkloadCertificateStatus> RefuseNextAsync(string reason = "refused")
    {
        (await _authority.NextAsync()).Refuse(reason);
        return await ChangeAsync();
    }

    private Task<WorkloadCertificateStatus> FailRenewalAsync()
    {
        _time.Advance(UntilRenewal);
        return RefuseNextAsync("closed for lunch");
    }

    private async Task<string[]> NamesAfterAsync(ScriptedAuthority.Request running, int count)
    {
        var names = new string[count];
        for (var i = 0; i < count; i++)
        {
            running.Grant();
            running = await _authority.NextAsync();
            names[i] = running.Identity.ServiceAccount!;
        }

        return names;
    }

    private sealed class LoadedDice(double result) : Random
    {
        public override double NextDouble() => result;
    }
}
