namespace Mesh.Hbone.Transport;

/// <summary>Octets that are read when there are some, into a buffer that need not be held while there are none.</summary>
internal interface IPolledReader
{
    /// <summary>False when a read is known to find nothing before the next event.</summary>
    bool IsReadable { get; }

    /// <summary>Waits until something has happened, which may be nothing to read: for who then calls <see cref="TryRead"/>.</summary>
    /// <returns>Nothing of meaning.</returns>
    ValueTask<int> WaitForEventAsync(CancellationToken cancellationToken);

    /// <summary>Reads what is there; false when nothing is. An end is there, as 0 octets.</summary>
    /// <exception cref="IOException">The connection was lost.</exception>
    bool TryRead(Span<byte> buffer, out int count);
}
