using System.Net;
using System.Security.Cryptography;
using Mesh.AspNetCore.ControlPlanes;
using Mesh.Core.Configuration;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Xds;
using Mesh.Xds.CertificateAuthority;
using Mesh.Xds.Client;
using Mesh.Xds.Server;
using Mesh.Ztunnel;

namespace LocalMesh;

/// <summary>Where a node's mesh and certificates come from.</summary>
/// <param name="Authority">Who signs.</param>
/// <param name="Configure">Sets the source of workloads, services and policies.</param>
internal sealed record Supply(ICertificateAuthority Authority, Action<ZtunnelOptions> Configure);

/// <summary>The second form of the sample: one control plane reads the file, and the nodes know nothing but its address and a token each.</summary>
internal sealed class SuppliedByControlPlane : IClientAuthenticator, IAsyncDisposable
{
    private readonly Dictionary<string, string> _tokens = [];
    private readonly DevelopmentCertificateAuthority _authority = DevelopmentCertificateAuthority.Create();
    private readonly LocalConfigurationFile _file;
    private readonly ControlPlane _controlPlane;
    private ControlPlaneServer? _server;

    private SuppliedByControlPlane(string path)
    {
        var state = new MeshState();
        _file = LocalConfigurationFile.Open(path, state);
        _controlPlane = new ControlPlane(state, this, _authority);
    }

    public static async Task<SuppliedByControlPlane> StartAsync(string path)
    {
        var supplier = new SuppliedByControlPlane(path);
        supplier._server = await ControlPlaneServer.StartAsync(supplier._controlPlane, supplier._authority, new ControlPlaneServerOptions { ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0) });
        return supplier;
    }

    /// <summary>What a node needs: the address, who vouches for it, and a token that nobody else has.</summary>
    public Supply For(string node)
    {
        var token = _tokens[node] = RandomNumberGenerator.GetHexString(32);
        var endpoint = new ControlPlaneEndpoint
        {
            Address = new Uri($"https://localhost:{_server!.LocalEndPoint.Port}"),
            RootCertificates = _authority.Root.ExportCertificatePem(),
            Token = token,
        };
        return new Supply(new IstioCertificateAuthority(new IstioCertificateAuthorityOptions { Endpoint = endpoint }), options =>
        {
            options.ControlPlane = endpoint;
            options.Node = new XdsNode($"ztunnel~127.0.0.1~{node}.local~local.svc.cluster.local");
        });
    }

    /// <summary>A node is who has its token; it gets certificates of its own workloads and of no others.</summary>
    public ControlPlaneClient? Authenticate(ControlPlaneCall call) =>
        _tokens.FirstOrDefault(one => call.Metadata("authorization") == $"Bearer {one.Value}").Key is { } node ? new ControlPlaneClient(node, node, []) : null;

    public async ValueTask DisposeAsync()
    {
        await (_server?.DisposeAsync() ?? default);
        _controlPlane.Dispose();
        await _file.DisposeAsync();
        _authority.Dispose();
    }
}
