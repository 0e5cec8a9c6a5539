using System.CommandLine;

namespace Mesh.Cli.Certificates;

/// <summary><c>mesh certs</c>: what certificates say, wherever they are.</summary>
internal static class CertificatesCommand
{
    private static readonly Argument<string> Path = new("path") { Description = "file with certificates, PEM or DER" };
    private static readonly Option<string> Address = new("--address") { Description = "admin address of the ztunnel", DefaultValueFactory = _ => "localhost:15000" };
    private static readonly Argument<string> Server = new("host:port") { Description = "a TLS server" };
    private static readonly Option<string?> ClientCertificate = new("--cert") { Description = "file with the certificate to show, and its intermediates, PEM" };
    private static readonly Option<string?> ClientKey = new("--key") { Description = "file with its private key, PEM; that of --cert when absent" };
    private static readonly Option<string?> Root = new("--root") { Description = "file with the root certificates that the server is held against, PEM" };
    private static readonly Option<string?> Expect = new("--expect") { Description = "SPIFFE ID that the server must have" };
    private static readonly Option<string?> ServerName = new("--server-name") { Description = "name to send (SNI), and to compare with; none when absent and the host is an address" };
    private static readonly Option<string[]> Alpn = new("--alpn") { Description = "protocol to offer; several are allowed", DefaultValueFactory = _ => ["h2"] };
    private static readonly Option<int> Timeout = new("--timeout") { Description = "seconds that it may take", DefaultValueFactory = _ => 10 };

    public static Command Create(TimeProvider? time = null)
    {
        time ??= TimeProvider.System;
        return new Command("certs", "show certificates: SPIFFE ID, lifetime, key, chain and roots")
        {
            Tool.Of("file", "of a file", [Path], (parsed, stop) => ShowFileAsync(parsed, time, stop)),
            Tool.Of("proxy", "of a running ztunnel", [Address, Timeout], (parsed, stop) => ShowProxyAsync(parsed, time, stop)),
            Tool.Of(
                "connect",
                "of a TLS server, by a handshake; fails when --root or --expect is given and not fulfilled",
                [Server, ClientCertificate, ClientKey, Root, Expect, ServerName, Alpn, Timeout],
                (parsed, stop) => ConnectAsync(parsed, time, stop)),
        };
    }

    private static async Task ShowFileAsync(ParseResult parsed, TimeProvider time, CancellationToken stop)
    {
        var path = parsed.GetRequiredValue(Path);
        var file = await CertificateFile.ReadAsync(path, stop);
        var text = new CertificateText(parsed.InvocationConfiguration.Output, time.GetUtcNow());
        for (var i = 0; i < file.Certificates.Count; i++)
        {
            text.Write($"certificate {i + 1} of {file.Certificates.Count}, {CertificateText.Role(file.Certificates[i])}", file.Certificates[i], indent: 0);
        }

        if (file.HasPrivateKey)
        {
            text.Line("the file holds a private key too, which is not shown");
        }
    }

    private static async Task ShowProxyAsync(ParseResult parsed, TimeProvider time, CancellationToken stop)
    {
        var address = Tool.HostAndPort("--address", parsed.GetRequiredValue(Address));
        var identities = await ProxyCertificates.ReadAsync(address, TimeoutOf(parsed), time, stop);
        var text = new CertificateText(parsed.InvocationConfiguration.Output, time.GetUtcNow());
        var bundles = new HashSet<string>();
        foreach (var identity in identities)
        {
            text.Line(Tool.Printable(identity.Identity));
            text.Line($"  state         {Tool.Printable(identity.State)}");
            foreach (var (certificate, i) in identity.Chain.Select((certificate, i) => (certificate, i)))
            {
                text.Write(i == 0 ? "leaf" : $"intermediate {i}", certificate, indent: 2);
            }

            // Most identities have the same roots; those are shown once.
            var fingerprints = string.Join(", ", identity.Roots.Select(CertificateText.Fingerprint));
            if (!bundles.Add(fingerprints))
            {
                text.Line($"  roots         as above: {string.Join(", ", identity.Roots.Select(root => CertificateText.Fingerprint(root)[..16]))}");
                continue;
            }

            foreach (var (root, i) in identity.Roots.Select((root, i) => (root, i)))
            {
                text.Write($"root {i + 1} of {identity.Roots.Count}", root, indent: 2);
            }
        }

        if (identities.Count == 0)
        {
            text.Line("the ztunnel has no certificates: no workload here needs one yet");
        }
    }

    private static async Task ConnectAsync(ParseResult parsed, TimeProvider time, CancellationToken stop)
    {
        var (host, port) = Tool.HostAndPort("the server", parsed.GetRequiredValue(Server));
        var handshake = new Handshake(host, port, time)
        {
            ClientCertificate = parsed.GetValue(ClientCertificate) is { } certificate
                ? await CertificateFile.ReadWithKeyAsync(certificate, parsed.GetValue(ClientKey) ?? certificate, stop)
                : null,
            Roots = parsed.GetValue(Root) is { } roots ? (await CertificateFile.ReadAsync(roots, stop)).Certificates : null,
            ServerName = parsed.GetValue(ServerName),
            Alpn = parsed.GetValue(Alpn) ?? [],
        };
        var expected = parsed.GetValue(Expect) is not { } expect ? null
            : Core.Identity.SpiffeId.TryParse(expect, out var id, out var error) ? id
            : throw new ToolException($"--expect: {error}");
        var result = await handshake.RunAsync(TimeoutOf(parsed), stop);
        var text = new CertificateText(parsed.InvocationConfiguration.Output, time.GetUtcNow());
        text.Line($"{host}:{port}");
        foreach (var (name, value) in result.Facts)
        {
            text.Line($"  {name,-13} {Tool.Printable(value)}");
        }

        foreach (var (presented, i) in result.Presented.Select((presented, i) => (presented, i)))
        {
            text.Write(i == 0 ? "leaf" : $"presented {i}", presented, indent: 2);
        }

        foreach (var (root, i) in (handshake.Roots ?? []).Select((root, i) => (root, i)))
        {
            text.Write($"given root {i + 1} of {handshake.Roots!.Count}", root, indent: 2);
        }

        if (result.Presented.Count == 0)
        {
            throw new ToolException($"{host}:{port} presented no certificate: {result.Failure}");
        }

        if (result.Distrust is { } distrust)
        {
            throw new ToolException($"{host}:{port} is not to be trusted by --root: {distrust}");
        }

        if (expected is not null && (!Core.Identity.SpiffeId.TryRead(result.Presented[0], out var actual, out var fault) || actual != expected))
        {
            throw new ToolException($"{host}:{port} is not {expected}");
        }
    }

    private static TimeSpan TimeoutOf(ParseResult parsed) => parsed.GetValue(Timeout) is >= 1 and <= 3600 and var seconds
        ? TimeSpan.FromSeconds(seconds)
        : throw new ToolException($"--timeout is {parsed.GetValue(Timeout)}; allowed are 1 to 3600 seconds");
}
