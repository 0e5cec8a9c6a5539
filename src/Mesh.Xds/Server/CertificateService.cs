using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Google.Protobuf.WellKnownTypes;
using Mesh.Core.Identity;
using Mesh.Xds.Grpc;
using Mesh.Xds.Protos;
using Microsoft.Extensions.Logging;

namespace Mesh.Xds.Server;

/// <summary>Signs the certificates of workloads, for the node that they run on and for nobody else (ztunnel §4).</summary>
internal sealed class CertificateService(NodeIdentities nodes, DevelopmentCertificateAuthority authority, ControlPlaneOptions options, ILogger logger)
{
    private const int MaxRequestSize = 64 * 1024;
    private const int MinRsaBits = 2048;

    // Elliptic curves of 256 bits and more.
    private const int MinEcBits = 256;

    public async Task ServeAsync(ControlPlaneClient client, Stream request, Stream response, CancellationToken cancellationToken)
    {
        var message = await GrpcFraming.ReadAsync(request, IstioCertificateRequest.Parser, MaxRequestSize, cancellationToken)
            ?? throw new GrpcException(GrpcStatusCode.InvalidArgument, "the request is missing");
        var identity = RequestedIdentity(message, client);
        Authorize(client, identity);
        var key = ReadKey(message.Csr);
        var asked = message.ValidityDuration > 0 ? TimeSpan.FromSeconds(Math.Min(message.ValidityDuration, (long)TimeSpan.FromDays(3650).TotalSeconds)) : options.MaxCertificateLifetime;
        var lifetime = asked < options.MaxCertificateLifetime ? asked : options.MaxCertificateLifetime;
        string leaf;
        try
        {
            using var certificate = authority.Sign(identity, key, lifetime);
            leaf = certificate.ExportCertificatePem();
            logger.CertificateSigned(client.Name, identity, new DateTimeOffset(certificate.NotAfter.ToUniversalTime()));
        }
        catch (CertificateAuthorityException e)
        {
            throw new GrpcException(GrpcStatusCode.FailedPrecondition, e.Message, e);
        }

        await GrpcFraming.WriteAsync(response, new IstioCertificateResponse { CertChain = { leaf, authority.Root.ExportCertificatePem() } }, default, onProgress: null, cancellationToken);
    }

    // Without a name in the request it is the client's own, if that is one.
    private static SpiffeId RequestedIdentity(IstioCertificateRequest request, ControlPlaneClient client)
    {
        if (request.Metadata?.Fields.TryGetValue("ImpersonatedIdentity", out var value) is true && value.KindCase is Value.KindOneofCase.StringValue)
        {
            return SpiffeId.TryParse(value.StringValue, out var identity, out var error) ? identity : throw new GrpcException(GrpcStatusCode.InvalidArgument, $"ImpersonatedIdentity: {error}");
        }

        return client.Identities is [var own]
            ? own
            : throw new GrpcException(GrpcStatusCode.InvalidArgument, "the request names no ImpersonatedIdentity, and the client has not one identity of its own");
    }

    private void Authorize(ControlPlaneClient client, SpiffeId identity)
    {
        if (client.Identities.Contains(identity) || (client.Node is { } node && nodes.RunsOn(node, identity)))
        {
            return;
        }

        logger.CertificateRefused(client.Name, identity);
        throw new GrpcException(
            GrpcStatusCode.PermissionDenied,
            client.Node is null ? $"{client.Name} may not have the identity {identity}" : $"no workload with the identity {identity} runs on node {client.Node}");
    }

    // Of the request only the key counts, and that the client has it: names and extensions are ours to say.
    private static PublicKey ReadKey(string pem)
    {
        try
        {
            var request = CertificateRequest.LoadSigningRequestPem(pem, HashAlgorithmName.SHA256);
            using var rsa = request.PublicKey.GetRSAPublicKey();
            using var ec = request.PublicKey.GetECDsaPublicKey();
            return rsa?.KeySize >= MinRsaBits || ec?.KeySize >= MinEcBits
                ? request.PublicKey
                : throw new GrpcException(GrpcStatusCode.InvalidArgument, $"csr: the key is neither RSA of {MinRsaBits} bits nor ECDSA of {MinEcBits} bits, or more");
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new GrpcException(GrpcStatusCode.InvalidArgument, $"csr: it is no signing request (PKCS #10) in PEM form that can be verified: {e.Message}", e);
        }
    }
}
