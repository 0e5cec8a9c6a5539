namespace Mesh.Ztunnel.Outbound;

/// <summary>A limit on connections is reached.</summary>
internal sealed class LimitReachedException(string message) : IOException(message);
