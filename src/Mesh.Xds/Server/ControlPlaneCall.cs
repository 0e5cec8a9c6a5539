using System.Security.Cryptography.X509Certificates;

namespace Mesh.Xds.Server;

/// <summary>A gRPC call as an HTTP/2 server sees it; made by what hosts a <see cref="ControlPlane"/>.</summary>
/// <remarks>The host has checked that it is a POST with the content type of gRPC, and has begun a response with status 200 and that content type.</remarks>
public sealed class ControlPlaneCall
{
    /// <summary>The <c>:path</c>: service and method.</summary>
    public required string Path { get; init; }

    /// <summary>Finds a header field of the request, by its name in lower case; null when there is none.</summary>
    public required Func<string, string?> Metadata { get; init; }

    /// <summary>What the client sends.</summary>
    public required Stream Request { get; init; }

    /// <summary>What is sent to the client. A write waits while the client takes no more.</summary>
    public required Stream Response { get; init; }

    /// <summary>Sets a field of the trailers.</summary>
    public required Action<string, string> SetTrailer { get; init; }

    /// <summary>The certificate that the client has proved to own, already verified; null for none.</summary>
    public X509Certificate2? ClientCertificate { get; init; }

    /// <summary>Where the client is, for log lines.</summary>
    public string Peer { get; init; } = "";
}
