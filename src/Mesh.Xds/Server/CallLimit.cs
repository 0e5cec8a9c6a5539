using System.Collections.Concurrent;
using Mesh.Xds.Grpc;

namespace Mesh.Xds.Server;

/// <summary>How many calls of one kind may be open at once, in all and for one client by its name.</summary>
/// <param name="calls">What they are, in the words of a refusal.</param>
/// <param name="max">The most in all.</param>
/// <param name="maxPerClient">The most for one client.</param>
internal sealed class CallLimit(string calls, int max, int maxPerClient)
{
    private readonly ConcurrentDictionary<string, int> _openOf = new();
    private int _open;

    public int Open => Volatile.Read(ref _open);

    /// <summary>Counts a call, until <see cref="Leave"/>.</summary>
    /// <exception cref="GrpcException">RESOURCE_EXHAUSTED: too many are open.</exception>
    public void Enter(string client)
    {
        if (Interlocked.Increment(ref _open) > max)
        {
            Interlocked.Decrement(ref _open);
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"{max} {calls} are open");
        }

        if (_openOf.AddOrUpdate(client, 1, static (_, open) => open + 1) > maxPerClient)
        {
            Leave(client);
            throw new GrpcException(GrpcStatusCode.ResourceExhausted, $"{client} has {maxPerClient} {calls} open");
        }
    }

    public void Leave(string client)
    {
        Interlocked.Decrement(ref _open);
        if (_openOf.AddOrUpdate(client, 0, static (_, open) => open - 1) == 0)
        {
            _openOf.TryRemove(KeyValuePair.Create(client, 0));
        }
    }
}
