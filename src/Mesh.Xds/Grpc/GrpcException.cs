namespace Mesh.Xds.Grpc;

/// <summary>A gRPC call that did not end with OK. The server said so, or what happened to the connection was put into the same words.</summary>
internal sealed class GrpcException(GrpcStatusCode status, string detail, Exception? innerException = null)
    : Exception($"{status}: {detail}", innerException)
{
    public GrpcStatusCode Status { get; } = status;

    public string Detail { get; } = detail;
}
