using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;

namespace Mesh.Cli.Certificates;

/// <summary>What a ztunnel says of one identity.</summary>
/// <param name="Identity">The SPIFFE ID.</param>
/// <param name="State">Whether there is a certificate, and if not, why.</param>
/// <param name="Chain">The certificate, then its intermediates.</param>
/// <param name="Roots">The trust bundle.</param>
internal sealed record ProxyCertificates(string Identity, string State, IReadOnlyList<X509Certificate2> Chain, IReadOnlyList<X509Certificate2> Roots)
{
    // Of a ztunnel of Istio's it is the whole configuration, of 100,000 workloads some hundred MiB.
    private const int MaxLength = 1024 * 1024 * 1024;

    /// <summary>Asks the admin port: that of ours for the certificates alone, Istio's for its whole configuration.</summary>
    /// <exception cref="ToolException">It does not answer, or with something else.</exception>
    public static async Task<IReadOnlyList<ProxyCertificates>> ReadAsync((string Host, int Port) address, TimeSpan timeout, TimeProvider time, CancellationToken stop)
    {
        var host = address.Host.Contains(':', StringComparison.Ordinal) ? $"[{address.Host}]" : address.Host;
        var url = new Uri($"http://{host}:{address.Port}/certificates");
        using var bound = new CancellationTokenSource(timeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, bound.Token);
        using var http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseProxy = false }) { Timeout = Timeout.InfiniteTimeSpan };
        try
        {
            var response = await http.GetAsync(url, HttpCompletionOption.ResponseHeadersRead, either.Token);
            if (response.StatusCode is HttpStatusCode.NotFound)
            {
                response.Dispose();
                url = new Uri(url, "/config_dump");
                response = await http.GetAsync(url, HttpCompletionOption.ResponseHeadersRead, either.Token);
            }

            using (response)
            {
                if (response.StatusCode is not HttpStatusCode.OK)
                {
                    throw new ToolException($"{url} answered with status {(int)response.StatusCode}; is it the admin port of a ztunnel?");
                }

                await using var body = await response.Content.ReadAsStreamAsync(either.Token);
                using var json = JsonDocument.Parse(await Tool.ReadAsync(body, MaxLength, url.ToString(), either.Token));
                return [.. Identities(json.RootElement).Take(100_000).Select(Read)];
            }
        }
        catch (OperationCanceledException e) when (bound.IsCancellationRequested && !stop.IsCancellationRequested)
        {
            throw new ToolException($"{url} did not answer in {timeout.TotalSeconds} s", e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new ToolException($"{url} cannot be read: {e.Message}; is a ztunnel running there, and in this network namespace?", e);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            throw new ToolException($"{url} answered with something else than a ztunnel's certificates: {e.Message}", e);
        }
    }

    private static JsonElement.ArrayEnumerator Identities(JsonElement root) =>
        (root.ValueKind is JsonValueKind.Object ? root.GetProperty("certificates") : root).EnumerateArray();

    private static ProxyCertificates Read(JsonElement one) => new(
        one.GetProperty("identity").GetString() ?? "",
        one.GetProperty("state").GetString() ?? "",
        Certificates(one, "certChain"),
        Certificates(one, "rootCerts"));

    private static List<X509Certificate2> Certificates(JsonElement one, string name) => !one.TryGetProperty(name, out var list) ? [] :
        [.. list.EnumerateArray().Take(CertificateFile.MaxCertificates).SelectMany(certificate => CertificateFile.Parse(certificate.GetProperty("pem").GetBytesFromBase64(), name).Certificates)];
}
