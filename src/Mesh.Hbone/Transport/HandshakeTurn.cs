namespace Mesh.Hbone.Transport;

/// <summary>Bounds how many handshakes compute at once in this process, so that a storm of connections leaves processors to those that are established.</summary>
/// <remarks>
/// A handshake is milliseconds of work between waits for the network. The turn is held for the work only: a client that is slow, or silent, holds none.
/// One handshake uses one of these; not thread-safe.
/// </remarks>
internal sealed class HandshakeTurn
{
    // All processors but one; where there is one only, every other moment.
    private static readonly SemaphoreSlim Turns = new(Math.Max(1, Environment.ProcessorCount - 1));
    private bool _taken;

    /// <summary>Waits for the turn. The caller goes on elsewhere than on the thread that polls sockets.</summary>
    public async Task TakeAsync(CancellationToken cancellationToken)
    {
        await Turns.WaitAsync(cancellationToken);
        _taken = true;
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
    }

    /// <summary>Lets the next one work. Harmless when the turn is not taken.</summary>
    public void GiveBack()
    {
        if (_taken)
        {
            _taken = false;
            Turns.Release();
        }
    }
}
