namespace Mesh.Hbone.Transport;

/// <summary>Octets that are read when there are some, and written as far as there is room.</summary>
internal interface IPolledStream : IPolledReader
{
    /// <summary>Writes as much as there is room for now.</summary>
    /// <param name="octets">What to write.</param>
    /// <param name="more">Whether more follows at once, so that it need not be sent before that; a hint.</param>
    /// <returns>How many octets were written.</returns>
    /// <exception cref="IOException">The connection was lost.</exception>
    int TryWrite(ReadOnlySpan<byte> octets, bool more);
}
