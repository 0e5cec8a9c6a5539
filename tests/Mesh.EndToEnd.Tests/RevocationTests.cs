using System.Globalization;
using System.Numerics;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>A revocation list that comes while connections are open (ztunnel §3.5): the peer closes them, and whoever is on it says so loudly.</summary>
public sealed class RevocationTests
{
    [Fact]
    public async Task A_client_that_is_revoked_loses_its_connections_and_is_refused()
    {
        using var directory = new TemporaryDirectory();
        var list = Path.Combine(directory.Path, "crl.pem");
        await using var nodes = await TwoNodes.StartAsync(("CRL_PATH", list));
        await using var connection = await nodes.ConnectAsync();
        Assert.Equal("hello", await connection.EchoAsync("hello"));

        using var client = new HttpClient();
        using var certificates = JsonDocument.Parse(await client.GetStringAsync($"http://{nodes.WebAddress}:15000/certificates"));
        await File.WriteAllBytesAsync(list, ListOf(nodes.CertificateDirectory, SerialNumberOf(certificates.RootElement)));

        await connection.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection complete", "src.workload=\"web-0\"", "error=\"connection closed: peer certificate revoked by CRL");
        await nodes.Web.LogsAsync("our own certificate of spiffe://cluster.local/ns/shop/sa/web is revoked");
        Assert.Contains("istio_crl_policy_rejections_total{reporter=\"destination\"}", await client.GetStringAsync($"http://{nodes.CartAddress}:15020/metrics"), StringComparison.Ordinal);

        await using var further = await nodes.ConnectAsync();
        await further.ExpectEndAsync();
        await nodes.Cart.LogsAsync("connection failed", "peer certificate rejected (Revoked)");
    }

    // Of the leaf that comes first; decimal, as Istio's dump has it.
    private static byte[] SerialNumberOf(JsonElement certificates)
    {
        var text = Find(certificates, "certChain")!.Value[0].GetProperty("serialNumber").GetString()!;
        return BigInteger.Parse(text, CultureInfo.InvariantCulture).ToByteArray(isUnsigned: false, isBigEndian: true);
    }

    private static JsonElement? Find(JsonElement element, string name) => element.ValueKind switch
    {
        JsonValueKind.Object => element.TryGetProperty(name, out var found) ? found : element.EnumerateObject().Select(property => Find(property.Value, name)).FirstOrDefault(one => one is not null),
        JsonValueKind.Array => element.EnumerateArray().Select(item => Find(item, name)).FirstOrDefault(one => one is not null),
        _ => null,
    };

    private static byte[] ListOf(string authority, byte[] serialNumber)
    {
        using var root = TestCertificates.RootOf(authority);
        var list = new CertificateRevocationListBuilder();
        list.AddEntry(serialNumber);
        return list.Build(root, 1, DateTimeOffset.UtcNow.AddDays(1), HashAlgorithmName.SHA256);
    }
}
