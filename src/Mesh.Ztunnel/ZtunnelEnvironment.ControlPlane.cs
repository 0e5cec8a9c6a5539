using System.Text.Json;
using System.Text.Json.Nodes;
using Mesh.Xds;
using Mesh.Xds.CertificateAuthority;
using Mesh.Xds.Client;

namespace Mesh.Ztunnel;

/// <summary>The settings of control plane and certificate authority (ztunnel §3.7, §4, §5).</summary>
internal sealed partial class ZtunnelEnvironment
{
    private const string DefaultRoots = "./var/run/secrets/istio/root-cert.pem";
    private const string DefaultToken = "./var/run/secrets/tokens/istio-token";
    private const string Metadata = "ISTIO_META_";
    private const string JsonMetadata = "ISTIO_METAJSON_";

    // Names of which any number may be set.
    private static readonly string[] Prefixes = [Metadata, JsonMetadata, "XDS_HEADER_", "CA_HEADER_"];

    /// <summary>SPIFFE_ENDPOINT_SOCKET: the SPIFFE agent that certificates come from; null for none.</summary>
    public string? SpiffeAgent { get; private set; }

    /// <summary>CA_ADDRESS and what belongs to it; null when MESH_DEVELOPMENT_CA or SPIFFE_ENDPOINT_SOCKET takes its place, or it is not usable.</summary>
    public IstioCertificateAuthorityOptions? CertificateAuthority { get; private set; }

    private void ReadControlPlane()
    {
        var clusterId = Value("ISTIO_META_CLUSTER_ID") ?? Value("CLUSTER_ID") ?? "Kubernetes";
        var token = Value("AUTH_TOKEN") ?? (File.Exists(DefaultToken) ? DefaultToken : null);
        Options.OnDemand = Flag("XDS_ON_DEMAND", false);
        Options.Node = ReadNode(clusterId);

        // A mesh from a file is complete: a control plane besides it must be named.
        var isLocal = Value("LOCAL_XDS") is not null || Value("LOCAL_XDS_PATH") is not null;
        if (!IsEmpty("XDS_ADDRESS") && (Value("XDS_ADDRESS") is not null || !isLocal))
        {
            Options.ControlPlane = Endpoint("XDS", clusterId, token);
        }
        else if (!isLocal)
        {
            _errors.Add("XDS_ADDRESS is empty, and neither LOCAL_XDS_PATH nor LOCAL_XDS is set; one of them must be");
        }

        CertificateLifetime = Duration("SECRET_TTL", CertificateLifetime, TimeSpan.FromSeconds(2), TimeSpan.FromDays(365));
        DevelopmentCaDirectory = Value("MESH_DEVELOPMENT_CA");
        SpiffeAgent = DevelopmentCaDirectory is null ? ReadSpiffeAgent() : null;
        var isIstio = DevelopmentCaDirectory is null && SpiffeAgent is null;
        if (isIstio && IsEmpty("CA_ADDRESS"))
        {
            _errors.Add("CA_ADDRESS is empty, and neither MESH_DEVELOPMENT_CA nor SPIFFE_ENDPOINT_SOCKET is set; one of them must be");
        }
        else if (isIstio && Endpoint("CA", clusterId, token) is { } authority)
        {
            CertificateAuthority = new IstioCertificateAuthorityOptions { Endpoint = authority, Lifetime = CertificateLifetime, Impersonate = Options.Mode is ProxyMode.Shared };
        }

        if (Flag("FAKE_CA", false))
        {
            Fault("FAKE_CA", Value("FAKE_CA")!, "false; MESH_DEVELOPMENT_CA is an authority for tests");
        }
    }

    private string? ReadSpiffeAgent()
    {
        const string Name = "SPIFFE_ENDPOINT_SOCKET";
        if (Value(Name) is not { } value)
        {
            return null;
        }

        if (!SpiffeWorkloadApi.IsEndpoint(value))
        {
            Fault(Name, value, "unix:///path, tcp://IP:PORT");
        }

        return value;
    }

    // "XDS" or "CA": the names of their settings differ in nothing else.
    private ControlPlaneEndpoint? Endpoint(string kind, string clusterId, string? token)
    {
        var name = $"{kind}_ADDRESS";
        var value = Value(name) ?? (Value("KUBERNETES_SERVICE_HOST") is null ? "https://localhost:15012" : "https://istiod.istio-system.svc:15012");
        try
        {
            return new ControlPlaneEndpoint
            {
                Address = ControlPlaneEndpoint.ParseAddress(value),
                RootCertificates = Value($"{kind}_ROOT_CA") ?? DefaultRoots,
                AlternativeHostname = Value($"ALT_{kind}_HOSTNAME"),
                Token = token,
                Metadata = [new("clusterid", clusterId), .. Headers($"{kind}_HEADER_")],
            };
        }
        catch (FormatException)
        {
            Fault(name, value, "host:port, https://host:port");
            return null;
        }
    }

    private IEnumerable<KeyValuePair<string, string>> Headers(string prefix)
    {
        foreach (var (name, value) in _variables.Where(variable => variable.Key.StartsWith(prefix, StringComparison.Ordinal)).OrderBy(variable => variable.Key, StringComparer.Ordinal))
        {
            var header = name[prefix.Length..].ToLowerInvariant();
            if (header.Length == 0 || header.AsSpan().ContainsAnyExcept(HeaderName) || value.AsSpan().ContainsAnyExceptInRange(' ', '~'))
            {
                // Without the value, which may be a secret.
                _errors.Add($"{name} is not usable; allowed: names of letters, digits, '-', '_' and '.', with values of printable ASCII");
                continue;
            }

            yield return new(header, value);
        }
    }

    private static readonly System.Buffers.SearchValues<char> HeaderName = System.Buffers.SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789-_.");

    // ztunnel §5.2. istiod reads the address, and from the name which pod it speaks to.
    private XdsNode ReadNode(string clusterId)
    {
        var (name, ns, address) = (Value("POD_NAME") ?? "", Value("POD_NAMESPACE") ?? "", Value("INSTANCE_IP") ?? "1.1.1.1");
        var metadata = new JsonObject { ["NAME"] = name, ["NAMESPACE"] = ns, ["INSTANCE_IPS"] = address, ["NODE_NAME"] = Value("NODE_NAME") ?? "", ["CLUSTER_ID"] = clusterId };
        foreach (var (variable, value) in _variables)
        {
            if (variable.StartsWith(Metadata, StringComparison.Ordinal))
            {
                metadata[variable[Metadata.Length..]] = value;
            }
            else if (variable.StartsWith(JsonMetadata, StringComparison.Ordinal))
            {
                metadata[variable[JsonMetadata.Length..]] = ReadJson(variable, value);
            }
        }

        return new XdsNode($"ztunnel~{address}~{name}.{ns}~{ns}.svc.cluster.local") { Metadata = metadata };
    }

    private JsonNode? ReadJson(string name, string value)
    {
        try
        {
            return JsonNode.Parse(value);
        }
        catch (JsonException e)
        {
            Fault(name, value, $"JSON ({e.Message})");
            return null;
        }
    }

    private bool IsEmpty(string name) => _variables.TryGetValue(name, out var value) && value.Length == 0;
}
