using Mesh.Hbone.Http2.Hpack;

namespace Mesh.Hbone.Http2;

internal static class Http2ConnectionExtensions
{
    /// <summary>Opens a stream, and sends its request.</summary>
    public static Http2Stream? OpenStream(this Http2Connection connection, IReadOnlyList<HeaderField> request, int limit)
    {
        var stream = connection.TryOpenStream(request, limit);
        connection.Flush();
        return stream;
    }
}
