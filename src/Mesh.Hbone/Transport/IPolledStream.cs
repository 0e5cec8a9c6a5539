namespace Mesh.Hbone.Transport;

/// <summary>Octets that are read when there are some, into a buffer that need not be held while there are none.</summary>
internal interface IPolledReader
{
    /// <summary>Waits until something has happened, which may be nothing to read: for who then calls <see cref="TryRead"/>.</summary>
    /// <returns>Nothing of meaning.</returns>
    ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken);

    /// <summary>Reads what is there; false when nothing is. An end is there, as 0 octets.</summary>
    /// <exception cref="IOException">The connection was lost.</exception>
    bool TryRead(Span<byte> buffer, out int count);
}

/// <summary>The same, and they are written as far as there is room.</summary>
internal interface IPolledStream : IPolledReader
{
    /// <summary>Whether <see cref="IPolledReader.TryRead"/> may find something; when not, it is known to find nothing before the next event.</summary>
    bool IsReadable { get; }

    /// <summary>Writes as much as there is room for now.</summary>
    /// <param name="octets">What to write.</param>
    /// <param name="more">Whether more follows at once, so that it need not be sent before that; a hint.</param>
    /// <returns>How many octets were written.</returns>
    /// <exception cref="IOException">The connection was lost.</exception>
    int TryWrite(ReadOnlySpan<byte> octets, bool more);
}
