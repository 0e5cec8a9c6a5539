using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Mesh.Cli.Certificates;

/// <summary>What came of a handshake.</summary>
/// <param name="Presented">The certificates of the server, leaf first.</param>
/// <param name="Facts">What was negotiated and judged, by name.</param>
/// <param name="Distrust">Why the given roots do not vouch for the server; null when they do, or none were given.</param>
/// <param name="Failure">Why the handshake failed; null when it did not.</param>
internal sealed record HandshakeResult(IReadOnlyList<X509Certificate2> Presented, IReadOnlyList<(string Name, string Value)> Facts, string? Distrust, string? Failure);

/// <summary>Shakes hands with a TLS server to see who it is. The server is judged afterwards, so that it can be seen in any case.</summary>
internal sealed class Handshake(string host, int port, TimeProvider time)
{
    // In TLS 1.3 a server refuses the client after the client has finished. One that is content with it says nothing, or sends its settings.
    private static readonly TimeSpan RefusalWait = TimeSpan.FromSeconds(1);

    public X509Certificate2Collection? ClientCertificate { get; init; }

    public IReadOnlyList<X509Certificate2>? Roots { get; init; }

    public string? ServerName { get; init; }

    public IReadOnlyList<string> Alpn { get; init; } = [];

    /// <exception cref="ToolException">There is no connection, or no answer in time.</exception>
    public async Task<HandshakeResult> RunAsync(TimeSpan timeout, CancellationToken stop)
    {
        using var bound = new CancellationTokenSource(timeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, bound.Token);
        var presented = new List<X509Certificate2>();
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(host, port, either.Token);
            await using var tls = new SslStream(new NetworkStream(socket));
            var facts = new List<(string, string)>();
            string? failure = null;
            try
            {
                await tls.AuthenticateAsClientAsync(Options(presented), either.Token);
                facts.Add(("protocol", tls.SslProtocol switch { SslProtocols.Tls13 => "TLS 1.3", SslProtocols.Tls12 => "TLS 1.2", var other => other.ToString() }));
                facts.Add(("cipher suite", tls.NegotiatedCipherSuite.ToString()));
                facts.Add(("ALPN", tls.NegotiatedApplicationProtocol.ToString() is { Length: > 0 } protocol ? protocol : "none"));
                failure = await RefusalAsync(tls, either.Token);
            }
            catch (Exception e) when (e is AuthenticationException or IOException)
            {
                failure = Innermost(e);
            }

            if (failure is not null)
            {
                facts.Add(("refused", $"the server ended the handshake: {failure}{(ClientCertificate is null ? "; it may want a client certificate, see --cert" : "")}"));
            }

            var distrust = Judge(presented);
            facts.Add(("trust", Roots is null ? "not looked at, without --root" : distrust ?? "the given roots vouch for it"));
            return new HandshakeResult(presented, facts, Roots is null ? null : distrust, failure);
        }
        catch (SocketException e)
        {
            throw new ToolException($"{host}:{port} cannot be connected to: {e.Message}", e);
        }
        catch (OperationCanceledException e) when (bound.IsCancellationRequested && !stop.IsCancellationRequested)
        {
            throw new ToolException($"{host}:{port} did not finish the handshake in {timeout.TotalSeconds} s; is it a TLS server?", e);
        }
    }

    private SslClientAuthenticationOptions Options(List<X509Certificate2> presented) => new()
    {
        TargetHost = ServerName ?? (Uri.CheckHostName(host) is UriHostNameType.Dns ? host : ""),
        EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
        CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        ApplicationProtocols = [.. Alpn.Select(name => new SslApplicationProtocol(name))],
        ClientCertificateContext = ClientCertificate is { } own ? SslStreamCertificateContext.Create(own[0], [.. own.Skip(1)], offline: true) : null,
        CertificateChainPolicy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, DisableCertificateDownloads = true, RevocationMode = X509RevocationMode.NoCheck },

        // Nothing is sent to the server after the handshake: to take any is no risk.
        RemoteCertificateValidationCallback = (_, certificate, chain, _) =>
        {
            if (certificate is not null)
            {
                presented.Add(X509CertificateLoader.LoadCertificate(certificate.GetRawCertData()));
                presented.AddRange((chain?.ChainPolicy.ExtraStore ?? []).Take(CertificateFile.MaxCertificates)
                    .Where(extra => !extra.RawDataMemory.Span.SequenceEqual(presented[0].RawDataMemory.Span))
                    .Select(extra => X509CertificateLoader.LoadCertificate(extra.RawData)));
            }

            return true;
        },
    };

    private async Task<string?> RefusalAsync(SslStream tls, CancellationToken stop)
    {
        using var wait = new CancellationTokenSource(RefusalWait, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, wait.Token);
        try
        {
            return await tls.ReadAsync(new byte[1], either.Token) == 0 ? "it closed the connection" : null;
        }
        catch (IOException e)
        {
            return Innermost(e);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return null;
        }
    }

    // A server of a mesh has no DNS name: who it is, its SPIFFE ID says. A name is compared when there is one to compare with.
    private string? Judge(List<X509Certificate2> presented)
    {
        if (Roots is null || presented.Count == 0)
        {
            return presented.Count == 0 ? "it presented no certificate" : null;
        }

        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(Roots.ToArray());
        chain.ChainPolicy.ExtraStore.AddRange(presented.Skip(1).ToArray());
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1"));
        chain.ChainPolicy.VerificationTime = time.GetUtcNow().UtcDateTime;
        if (!chain.Build(presented[0]))
        {
            return string.Join("; ", chain.ChainStatus.Select(status => $"{status.Status}: {status.StatusInformation.Trim()}").Distinct());
        }

        return ServerName is { } name && !presented[0].MatchesHostname(name, allowCommonName: false) ? $"its certificate does not have the name {name}" : null;
    }

    private static string Innermost(Exception e)
    {
        while (e.InnerException is { } inner)
        {
            e = inner;
        }

        return e.Message;
    }
}
