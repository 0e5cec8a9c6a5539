using System.Security.Cryptography.X509Certificates;
using System.Threading.Channels;
using Mesh.Testing;

namespace Mesh.Core.Identity;

/// <summary>An authority whose answers the test gives, one by one. Its certificates are valid for an hour.</summary>
internal sealed class ScriptedAuthority(FakeTimeProvider time) : ICertificateAuthority, IDisposable
{
    private readonly DevelopmentCertificateAuthority _signer = DevelopmentCertificateAuthority.Create(time);
    private readonly Channel<Request> _requests = Channel.CreateUnbounded<Request>();
    private int _count;

    public TrustBundle TrustBundle => _signer.TrustBundle;

    /// <summary>How often it was asked.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>When set, every request fails with it at once.</summary>
    public Exception? Outage { get; set; }

    public Task<WorkloadCertificate> IssueAsync(SpiffeId identity, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _count);
        if (Outage is { } outage)
        {
            throw outage;
        }

        var request = new Request(identity, this, cancellationToken);
        _requests.Writer.TryWrite(request);
        return request.Answered;
    }

    public WorkloadCertificate Sign(SpiffeId identity) => _signer.Issue(identity);

    public Task<Request> NextAsync() => _requests.Reader.ReadAsync().InTime();

    public void Dispose() => _signer.Dispose();

    internal sealed class Request(SpiffeId identity, ScriptedAuthority authority, CancellationToken cancellation)
    {
        private readonly TaskCompletionSource<WorkloadCertificate> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public SpiffeId Identity => identity;

        public CancellationToken Cancellation => cancellation;

        public Task<WorkloadCertificate> Answered => _answer.Task;

        public void Grant(WorkloadCertificate certificate) => _answer.SetResult(certificate);

        public void Grant() => _answer.SetResult(authority.Sign(identity));

        /// <summary>Answers with a copy of a certificate that it had issued before.</summary>
        public void GrantAgain(WorkloadCertificate before) => _answer.SetResult(new WorkloadCertificate(new X509Certificate2(before.Leaf)));

        public void GrantAs(SpiffeId other) => _answer.SetResult(authority.Sign(other));

        public void Refuse(string reason) => _answer.SetException(new CertificateAuthorityException(reason));
    }
}
